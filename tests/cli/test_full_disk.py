"""A disk that is full: exit code 2 with the output's path and the system's reason, and no half output. RLIMIT_FSIZE stands in for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from bundle.formats.artifacts import hash_folder
from bundle.formats.outputs import anything, replacing
from tdss import checkpoint
from tests.compile import made
from tests.tdss.test_checkpoint import small
from tests.tdss.test_foreign import official

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from cli.main import run
size = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
run(sys.argv[2:])
"""


def limited(size: int, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run ``tdss`` where no file may be larger than ``size`` bytes."""
    command = [sys.executable, "-c", LIMITED, str(size), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkpoint, its data and published weights."""
    made.checkpoint(tmp_path / "tiny")
    made.scenes(tmp_path / "scenes")
    checkpoint.write_weights(tmp_path / "swin.safetensors", official())
    checkpoint.write_config(tmp_path / "swin.toml", small())
    return tmp_path


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (4000, ("export", "--model", "{0}/tiny", "--images", "{0}/scenes", "--out", "{0}/out")),
        (100, ("export", "--model", "{0}/tiny", "--images", "{0}/scenes", "--out", "{0}/out")),
        (4000, ("import", "--weights", "{0}/swin.safetensors", "--config", "{0}/swin.toml", "--out", "{0}/out")),
        (1000, ("evaluate", "{0}/tiny", "--data", "{0}/scenes", "--arrays", "{0}/out")),
    ],
)
def test_a_full_disk_is_bad_input_and_leaves_nothing(place: Path, size: int, words: tuple[str, ...]) -> None:
    before = hash_folder(place)
    run = limited(size, *(word.format(place) for word in words))
    assert run.returncode == 2 and "Traceback" not in run.stderr, run.stderr
    assert "File too large" in run.stderr and f"where:    {place}/out" in run.stderr
    assert hash_folder(place) == before and not (place / "out").exists() and not list(place.glob(".*"))


def test_openvino_gives_no_reason_so_the_system_is_asked(tmp_path: Path) -> None:
    code = LIMITED.replace("run(sys.argv[2:])", "") + (
        "import numpy as np, openvino as ov, openvino.opset13 as op\n"
        "from pathlib import Path\nfrom bundle.formats.outputs import anything, replacing\nfrom targets.intel.graph import save\n"
        "image = op.parameter([1, 64], np.float32, 'image')\n"
        "model = ov.Model([op.matmul(image, op.constant(np.ones((64, 64), np.float32)), False, False)], [image], 'm')\n"
        "try:\n"
        "    with replacing(Path(sys.argv[2]), anything) as folder:\n"
        "        save(model, folder / 'm.xml')\n"
        "except Exception as error:\n"
        "    sys.stderr.write(f'{type(error).__name__}|{error.got}|{error.where}')\n"
    )
    command = [sys.executable, "-c", code, "6000", str(tmp_path / "out")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stderr.endswith(f"InputError|File too large|{tmp_path / 'out'}") and not list(tmp_path.iterdir())


def test_weights_that_cannot_be_written_are_no_error_of_the_library(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="weights"):
        checkpoint.write_weights(tmp_path / "no folder" / "weights", official())
    with replacing(tmp_path / "out", anything) as folder:
        checkpoint.write_weights(folder / "weights", official())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["weights"]
