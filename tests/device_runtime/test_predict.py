"""``tdss-runtime.pyz predict``: two files and a source, without the host's packages."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bundle.made import image
from tests.device_runtime.runtime_file import HOST, carry, start
from tests.predict.seen import NAMES, colours_of, files_below, lines_of, maps_of, read


def test_images_are_seen_without_pillow_and_pyav(runtime: Path, tmp_path: Path) -> None:
    there = carry(runtime, tmp_path, "reference")
    (there / "in").mkdir()
    for index in range(2):
        np.save(there / "in" / f"{index}.npy", image(index))
    words = ("--out", "seen", "--write", "maps,arrays,millimetres", "--json")
    done = start(there, "predict", "reference.zip", "in", *words, without=f"{HOST},av")
    assert done.returncode == 0, done.stderr
    frames, last = lines_of(done.stdout)
    assert [frame["frame"] for frame in frames] == ["0", "1"] and last["executed_on"] == "device"
    assert files_below(there / "seen") == sorted(name for frame in frames for name in frame["files"])
    for name in NAMES:
        assert (
            np.abs(read(there / "seen" / "maps" / name / "1.png").astype(int) - colours_of(image(1))[name]).max() <= 1
        )
    metres = read(there / "seen" / "millimetres" / "depth" / "1.png") / 1000
    np.testing.assert_allclose(metres, maps_of(image(1))["depth"], atol=6e-4)


@pytest.mark.slow
def test_a_video_is_seen_with_pyav(runtime: Path, tmp_path: Path) -> None:
    from tests.predict.made_video import av, read_video, write_video

    there = carry(runtime, tmp_path, "intel")
    write_video(there / "v.mkv", [image(index) for index in range(4)])
    path = str(Path(av.__file__).parents[1])
    done = start(there, "predict", "intel.zip", "v.mkv", "--out", "seen", "--write", "sheets,arrays", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "seen: 4 frames in " in done.stdout and len(read_video(there / "seen" / "sheet.mp4")) == 4
    with np.load(there / "seen" / "arrays" / "000003.npz", allow_pickle=False) as held:
        assert (held["semseg"] == maps_of(image(3))["semseg"]).mean() > 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("source", "line"), [("v.mp4", "'av>=17,<20'"), ("photo.png", "'pillow>=11'")])
def test_a_package_that_a_source_needs_ends_with_3_and_pips_command(
    runtime: Path, tmp_path: Path, source: str, line: str
) -> None:
    there = carry(runtime, tmp_path, "reference")
    (there / source).write_bytes(b"anything")
    done = start(there, "predict", "reference.zip", source, "--out", "seen", without=f"{HOST},av")
    assert done.returncode == 3 and f"{sys.executable} -m pip install {line}\n" in done.stderr, done.stderr
    assert not os.path.exists(there / "seen")
