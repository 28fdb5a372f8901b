"""The program of docs/guides/device.md: an image in, a picture per task out."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.base.errors import DatasetError, InputError, ProjectError
from bundle.tasks.dataset import read_image
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from bundle.transport.archive import pack
from bundle.transport.signature import make_keys
from examples.infer import main
from targets.table import TARGETS
from tests.bundle.made import HEIGHT, PALETTES, PREPROCESS, TASKS, WIDTH, image, model
from tests.bundle.made_onnx import make

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "examples" / "infer.py"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image of the model's size, as PNG."""
    Image.fromarray(image(0)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def check_pictures(folder: Path, photo: Path) -> None:
    """Assert that a folder holds a picture of the model's answer for each task, and nothing else."""
    raw = model(PREPROCESS.apply(read_image(photo)))
    assert {path.name for path in folder.iterdir()} == {f"{name}.png" for name in TASKS}
    for name in TASKS:
        values = predict(task(name), raw[name][0])
        kind = task(name).kind
        expected = kind.draw(values, kind.inks(PALETTES.get(name, ()), values))
        with Image.open(folder / f"{name}.png") as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (WIDTH, HEIGHT))
            np.testing.assert_allclose(np.asarray(picture).astype(int), expected.astype(int), atol=2)
        assert len(np.unique(expected.reshape(-1, 3), axis=0)) > 1


def test_the_page_shows_a_function_of_the_file() -> None:
    page = (ROOT / "docs" / "guides" / "device.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert shown.startswith("def infer(") and shown in PROGRAM.read_text(encoding="utf-8")


@pytest.mark.parametrize("target", TARGETS)
def test_a_picture_of_each_task(tmp_path: Path, photo: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(make(tmp_path / target, target)), str(photo), "--out", str(tmp_path / "out")])
    check_pictures(tmp_path / "out", photo)
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path / 'out' / name}.png" for name in TASKS]


@pytest.mark.slow
def test_as_a_command_from_an_archive_with_a_jpeg(tmp_path: Path) -> None:
    Image.fromarray(image(1)).save(tmp_path / "photo.jpg")
    archive = pack(make(tmp_path / "made", "intel"), tmp_path / "sent.zip")
    command = [sys.executable, "-m", "examples.infer", str(archive), str(tmp_path / "photo.jpg")]
    for out in ("first", "again"):  # the second time it is unpacked already
        line = [*command, "--out", str(tmp_path / out)]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        check_pictures(tmp_path / out, tmp_path / "photo.jpg")


def test_a_frame_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    folder = make(tmp_path / "made", "reference")
    np.save(tmp_path / "frame.npy", image(0))
    main([str(folder), str(tmp_path / "frame.npy"), "--out", str(tmp_path / "out")])
    monkeypatch.undo()
    check_pictures(tmp_path / "out", tmp_path / "frame.npy")


def refused(error: type[ProjectError], capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run it; expect the error's exit code; return what it prints."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert caught.value.code == error.exit_code
    return capsys.readouterr().err


def test_another_size_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(image(0).transpose(1, 0, 2)).save(tmp_path / "turned.png")
    folder = make(tmp_path / "made", "reference")
    text = refused(DatasetError, capsys, str(folder), str(tmp_path / "turned.png"), "--out", str(tmp_path / "out"))
    assert "height 24, width 32" in text and "height 32, width 24" in text and "turned.png" in text
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over_or_into_the_bundle(
    tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "made", "reference")
    before = sorted(folder.rglob("*"))
    for out in (tmp_path, folder, folder / "new"):
        assert "folder of their own" in refused(InputError, capsys, str(folder), str(photo), "--out", str(out))
    assert sorted(folder.rglob("*")) == before and photo.is_file()


def test_a_key_asks_for_a_signature(tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, public = make_keys(tmp_path / "release")
    folder, out = make(tmp_path / "made", "reference"), tmp_path / "out"
    assert "sign" in refused(InputError, capsys, str(folder), str(photo), "--out", str(out), "--key", str(public))
    assert not out.exists()
