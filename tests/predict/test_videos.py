"""``tdss predict`` on videos: files, pipes, lavfi's test source and MPEG-TS over loopback; what is written is read by PyAV."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps

from bundle.base.isolated import ROOT
from tests.bundle.made import HEIGHT, WIDTH, image
from tests.cli.run import tdss
from tests.predict.made_video import av, cut, read_video, write_video
from tests.predict.seen import NAMES, colours_of, files_below, lines_of, maps_of

IMAGES = [image(index) for index in range(6)]
# No file may be larger than 8,000 bytes, which stands in for a full disk.
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from cli.main import run
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
run(sys.argv[1:])
"""
ENDLESS = "testsrc2=size=32x24:rate=25,realtime"


def predict(*words: object) -> list[str]:
    """The command line that predicts in a process of its own."""
    return [sys.executable, "-m", "cli.main", "predict", *map(str, words)]


def environment() -> dict[str, str]:
    """The environment of such a process: this checkout and PyAV in reach, one thread."""
    path = os.pathsep.join([str(ROOT), str(Path(av.__file__).parents[1])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def test_every_frame_of_a_file_is_seen(made: Path, tmp_path: Path, capsys) -> None:
    video, out = write_video(tmp_path / "v.mkv", IMAGES), tmp_path / "out"
    words = ("--out", str(out), "--write", "maps,sheets,arrays", "--json")
    code, text, _ = tdss("predict", str(made), str(video), *words, capsys=capsys)
    frames, last = lines_of(text)
    assert code == 0 and last["frames"] == 6 and [frame["frame"] for frame in frames] == [f"{i:06d}" for i in range(6)]
    assert [frame["time_s"] for frame in frames] == pytest.approx([0.04 * i for i in range(6)], abs=1e-3)
    arrays = [f"arrays/{index:06d}.npz" for index in range(6)]
    assert last["videos"] == [*(f"maps/{name}.mp4" for name in NAMES), "sheet.mp4"]
    assert files_below(out) == sorted([*arrays, *(f"maps/{name}.mp4" for name in NAMES), "sheet.mp4"])
    for index, shown in enumerate(IMAGES):
        with np.load(out / arrays[index], allow_pickle=False) as held:
            assert np.array_equal(held["semseg"], maps_of(shown)["semseg"])
    seen = read_video(out / "maps" / "normals.mp4")
    assert [time for time, _ in seen] == pytest.approx([0.04 * i for i in range(6)], abs=2e-3)
    for (_, picture), shown in zip(seen, IMAGES, strict=True):
        wrong = np.abs(picture.astype(int) - colours_of(shown)["normals"]).mean()
        assert wrong < 20 and wrong < np.abs(picture.astype(int) - colours_of(image(50))["normals"]).mean()
    assert {picture.shape for _, picture in read_video(out / "sheet.mp4")} == {(2 * HEIGHT + 4, 4 * WIDTH + 12, 3)}


def test_every_second_frame_until_a_limit_keeps_its_time(made: Path, tmp_path: Path, capsys) -> None:
    video, out = write_video(tmp_path / "v.mkv", IMAGES, step_ms=100), tmp_path / "out"
    words = ("--out", str(out), "--write", "maps", "--tasks", "depth", "--every", "2", "--limit", "2")
    assert tdss("predict", str(made), str(video), *words, capsys=capsys)[0] == 0
    assert [time for time, _ in read_video(out / "maps" / "depth.mp4")] == pytest.approx([0, 0.2], abs=2e-3)


def test_a_colour_keeps_its_meaning_in_a_video(made: Path, tmp_path: Path, capsys) -> None:
    """A white image has one depth, which in a span of its own is dark blue; here it has its place in the first frame's."""
    video, out = write_video(tmp_path / "v.mkv", [IMAGES[0], np.full_like(IMAGES[0], 255)]), tmp_path / "out"
    words = ("--out", str(out), "--write", "maps", "--tasks", "depth")
    assert tdss("predict", str(made), str(video), *words, capsys=capsys)[0] == 0
    first, value = maps_of(IMAGES[0])["depth"], maps_of(np.full_like(IMAGES[0], 255))["depth"][0, 0]
    near, far = np.percentile(first[first > 0], (1, 99))
    expected = np.array(colormaps["viridis"]((far - value) / (far - near))[:3]) * 255
    assert near < value < far and np.abs(expected - (68, 1, 84)).max() > 40  # dark blue is another colour
    assert np.abs(read_video(out / "maps" / "depth.mp4")[1][1].mean(axis=(0, 1)) - expected).max() < 20


def test_a_video_that_is_stored_turned_is_seen_upright(made: Path, tmp_path: Path, capsys) -> None:
    """The matrix of an MP4's track header asks a player to turn it by 90° clockwise, as a phone writes it."""
    dark = np.zeros((WIDTH, HEIGHT, 3), np.uint8)
    dark[:, : HEIGHT // 2] = 255  # stored: left half white; shown: upper half white
    video = write_video(tmp_path / "v.mp4", [dark] * 2, codec="mpeg4")
    content = bytearray(video.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    matrix = (0, 1 << 16, 0, (1 << 32) - (1 << 16), 0, 0, 0, 0, 1 << 30)
    content[at : at + 36] = b"".join(value.to_bytes(4, "big") for value in matrix)
    video.write_bytes(content)
    words = ("--out", str(tmp_path / "out"), "--write", "sheets", "--tasks", "depth")
    assert tdss("predict", str(made), str(video), *words, capsys=capsys)[0] == 0
    shown = read_video(tmp_path / "out" / "sheet.mp4")[0][1][:HEIGHT, :WIDTH]
    assert shown[: HEIGHT // 2 - 3].mean() > 200 and shown[HEIGHT // 2 + 3 :].mean() < 55


@pytest.mark.slow
def test_a_pipe_gives_every_frame(made: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mkv", IMAGES)
    command = predict(made, "-", "--out", tmp_path / "out", "--write", "arrays", "--json")
    done = subprocess.run(
        command, input=video.read_bytes(), capture_output=True, env=environment(), cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert files_below(tmp_path / "out") == [f"arrays/{index:06d}.npz" for index in range(6)]


@pytest.mark.slow
def test_lavfis_test_source_is_live_and_ctrl_c_ends_it_well(made: Path, tmp_path: Path) -> None:
    words = ("--format", "lavfi", "--frames", "newest", "--write", "sheets", "--tasks", "depth", "--json")
    command = predict(made, ENDLESS, "--out", tmp_path / "out", *words)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=tmp_path
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, error = process.communicate(timeout=100)
    assert process.returncode == 0, error
    last = json.loads(rest.splitlines()[-1])
    assert last["live"] is True and len(read_video(tmp_path / "out" / "sheet.mp4")) == last["frames"] > 0
    assert files_below(tmp_path / "out") == ["sheet.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_what_was_finished(made: Path, tmp_path: Path, signal_number: int) -> None:
    words = ("--format", "lavfi", "--frames", "every", "--write", "sheets,arrays", "--tasks", "depth", "--json")
    command = predict(made, ENDLESS, "--out", tmp_path / "out", *words)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(signal_number)
        process.communicate(timeout=100)
    assert process.returncode == (130 if signal_number == signal.SIGINT else -signal.SIGKILL)
    assert (tmp_path / "out" / "sheet.mp4").exists() == (signal_number == signal.SIGINT)
    shown = [path for path in (tmp_path / "out").rglob("*.npz") if not path.name.startswith(".")]
    assert {f"arrays/{path.name}" for path in shown} >= set(first["files"])
    for path in shown:
        with np.load(path, allow_pickle=False) as held:
            assert held["depth"].shape == (HEIGHT, WIDTH)


class Server:
    """Sends bytes to the first that connects over loopback, in pieces, and closes the connection."""

    def __init__(self, content: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, args=(content,), daemon=True).start()

    def _serve(self, content: bytes) -> None:
        with self._socket:
            connection, _ = self._socket.accept()
        with connection:
            connection.sendall(content)


@pytest.mark.parametrize("share", [1.0, 0.6])
@pytest.mark.parametrize("frames", ["auto", "every"])
def test_mpeg_ts_over_loopback_until_it_ends_or_breaks_off(
    made: Path, tmp_path: Path, capsys, share: float, frames: str
) -> None:
    """No stream says how long it will be, so one that breaks off between two frames has ended."""
    many = [IMAGES[index % 6] for index in range(50)]
    stream = cut(write_video(tmp_path / "v.ts", many, codec="mpeg2video", form="mpegts"), share)
    words = ("--out", str(tmp_path / "out"), "--write", "sheets", "--tasks", "depth", "--json", "--frames", frames)
    server = Server(stream.read_bytes())
    code, text, err = tdss("predict", str(made), server.url, *words, capsys=capsys)
    assert code == 0, err
    lines, last = lines_of(text)
    assert last["live"] is (frames == "auto") and len(read_video(tmp_path / "out" / "sheet.mp4")) == len(lines)
    assert 0 < len(lines) <= 50 and (frames == "auto" or len(lines) >= 50 * share - 2)
    assert [line["frame"] for line in lines] == sorted({line["frame"] for line in lines})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.mp4", b"", "the video cannot be read"),
        ("v.mp4", b"no video at all" * 1000, "the video cannot be read"),
        ("v.avi", b"RIFF" + bytes(5000), "the video cannot be read"),
    ],
)
def test_an_unreadable_video_is_one_error(
    made: Path, tmp_path: Path, capsys, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    code, _, err = tdss("predict", str(made), str(tmp_path / name), "--out", str(tmp_path / "out"), capsys=capsys)
    assert code == 2 and message in err and err.count("error:") == 1 and f"where:    {tmp_path / name}" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("v.mkv", {"codec": "ffv1"}, "the video ends in the middle"),
        ("v.mp4", {"codec": "mpeg4"}, "the video cannot be read"),
        ("v.mp4", {"codec": "mpeg4", "movflags": "faststart"}, "the video "),
    ],
)
def test_a_video_that_ends_in_the_middle_is_one_error_and_no_video_is_left(
    made: Path, tmp_path: Path, capsys, name: str, options: dict[str, str], message: str
) -> None:
    video = cut(write_video(tmp_path / name, IMAGES * 5, **options), 0.6)
    words = ("--out", str(tmp_path / "out"), "--write", "sheets,arrays", "--tasks", "depth")
    code, _, err = tdss("predict", str(made), str(video), *words, capsys=capsys)
    assert code == 2 and message in err and err.count("error:") == 1 and err.count("fix:") == 1
    left = files_below(tmp_path / "out") if (tmp_path / "out").exists() else []
    assert all(file.startswith("arrays/0") for file in left) and len(left) < 30


@pytest.mark.parametrize("content", [b"", b"G" * 500], ids=["nothing", "noise"])
def test_a_stream_that_ends_before_its_first_frame_is_one_error(
    made: Path, tmp_path: Path, capsys, content: bytes
) -> None:
    code, _, err = tdss("predict", str(made), Server(content).url, "--out", str(tmp_path / "out"), capsys=capsys)
    assert code == 2 and err.count("error:") == 1 and err.count("fix:") == 1 and "tcp://127.0.0.1" in err, err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_pipe_that_nothing_comes_through_is_one_error(made: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        predict(made, "-", "--out", tmp_path / "out"), input=b"", capture_output=True, env=environment(), cwd=tmp_path
    )
    assert done.returncode == 2 and done.stderr.count(b"error:") == 1 and b"Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_comes_from_where_nobody_sends(made: Path, tmp_path: Path, capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
    code, _, err = tdss("predict", str(made), url, "--out", str(tmp_path / "out"), capsys=capsys)
    assert code == 2 and "the video cannot be read" in err and "refused" in err and not (tmp_path / "out").exists()


def test_a_sound_without_a_picture_is_refused(made: Path, tmp_path: Path, capsys) -> None:
    words = ("--format", "lavfi", "--out", str(tmp_path / "out"))
    code, _, err = tdss("predict", str(made), "sine=duration=1", *words, capsys=capsys)
    assert code == 2 and "the source has no video" in err


def test_an_encoder_that_there_is_not_is_refused(made: Path, tmp_path: Path, capsys) -> None:
    video = write_video(tmp_path / "v.mkv", IMAGES)
    words = ("--codec", "h999", "--out", str(tmp_path / "out"))
    code, _, err = tdss("predict", str(made), str(video), *words, capsys=capsys)
    assert code == 2 and "got:      h999" in err and "--codec" in err and files_below(tmp_path / "out") == []


def test_frames_of_odd_sides_get_a_row_and_a_column_more(made: Path, tmp_path: Path, capsys) -> None:
    words = ("--format", "lavfi", "--fit", "stretch", "--write", "maps", "--tasks", "depth", "--limit", "2")
    source = "color=c=red:size=33x25:rate=25"
    assert tdss("predict", str(made), source, *words, "--out", str(tmp_path / "out"), capsys=capsys)[0] == 0
    assert {picture.shape for _, picture in read_video(tmp_path / "out" / "maps" / "depth.mp4")} == {(26, 34, 3)}


@pytest.mark.slow
def test_a_full_disk_is_one_error_and_leaves_no_video(made: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mkv", [image(index) for index in range(40)])
    words = ("--write", "sheets", "--out", str(tmp_path / "out"))
    command = [sys.executable, "-c", LIMITED, "predict", str(made), str(video), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=tmp_path, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.count("error:") == 1, done.stderr
    assert "File too large" in done.stderr and files_below(tmp_path / "out") == []
