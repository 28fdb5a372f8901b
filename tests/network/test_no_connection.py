"""No command of ours asks for a connection beyond this machine, and none writes into an empty home folder."""

import platform
import sys
from pathlib import Path

import pytest

from targets.table import TARGETS
from tests.compile import made
from tests.contract.flows import EXECUTED_ON, IO
from tests.network.watched import CALLS, Watched, run_watched
from tests.tdss.training.tiny import settings, write_config, write_folder

ROOT = Path(__file__).resolve().parents[2]
NOT_HERE = (platform.system(), platform.machine()) not in [("Linux", machine) for machine in CALLS]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(NOT_HERE, reason="calls are watched on Linux, x86-64 and aarch64")]

PYTHON = (sys.executable, "-m")
BUILD = """\
target = "{target}"
checkpoint = "{folder}/tiny"
data = "{folder}/scenes"
out = "{folder}/out"
io = "{io}"
tasks = ["semseg", "depth"]
threads = 1
budgets = {{ semseg = 10.0, depth = 10.0 }}
timing = {{ runs = 1, warmup = 1 }}
"""


def quiet(folder: Path, *command: str, ends: tuple[int, ...] = (0,)) -> None:
    """Run a command with an empty home; assert that it ends as it should, asks for no connection and leaves the home empty."""
    done, left = watched(folder, *command)
    assert done.returncode in ends, done.output
    assert (done.attempts, left) == ((), []), done.output


def watched(folder: Path, *command: str) -> tuple[Watched, list[str]]:
    """Run a command with an empty home and its own temporary folder; return how it ended, and what it left in the home."""
    home, scratch = folder / "home", folder / "scratch"
    home.mkdir(exist_ok=True)
    scratch.mkdir(exist_ok=True)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
    done = run_watched(command, cwd=ROOT, env=env)
    return done, sorted(path.relative_to(home).as_posix() for path in home.rglob("*"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint and labelled images."""
    folder = tmp_path_factory.mktemp("quiet")
    made.checkpoint(folder / "tiny")
    made.scenes(folder / "scenes")
    return folder


@pytest.fixture(scope="module", params=IO)
def built(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A bundle for each target, built under the watch."""
    target = str(request.param)
    config = folder / f"{target}.toml"
    config.write_text(BUILD.format(target=target, folder=folder, io=IO[target]))
    quiet(folder, sys.executable, "compile/pipeline.py", "--config", str(config))
    [bundle] = folder.glob(f"out/*/{target}")
    return bundle


def test_a_device_decides(built: Path, tmp_path: Path) -> None:
    tool = (
        ["--tool-seconds", "1", "--variant", "f32"]
        if TARGETS[built.name].vendor_benchmark and EXECUTED_ON[built.name] == "device"
        else []
    )
    quiet(tmp_path, *PYTHON, "targets", str(built), "--runs", "1", "--send", str(tmp_path / "sent.zip"), *tool)


def test_a_device_judges(built: Path, tmp_path: Path) -> None:
    quiet(tmp_path, *PYTHON, "pytest", "-q", "-p", "no:cacheprovider", "tests/regression", "--bundle", str(built))
    quiet(tmp_path, *PYTHON, "cli.main", "regress", str(built))


def test_a_program_that_uses_the_packages(folder: Path, built: Path, tmp_path: Path) -> None:
    image, pictures = str(next(folder.glob("scenes/image/*"))), tmp_path / "pictures"
    quiet(tmp_path, *PYTHON, "examples.infer", str(built), image, "--out", str(pictures))
    assert sorted(path.name for path in pictures.iterdir()) == ["depth.png", "semseg.png"]


def test_a_report(built: Path, tmp_path: Path) -> None:
    quiet(tmp_path, *PYTHON, "cli.main", "report", str(built))


def test_one_stage_and_what_reads_a_graph(folder: Path, built: Path, tmp_path: Path) -> None:
    graph = str(next(folder.glob("out/.store/simplify/*/model.onnx")))
    images = ["--calibration", str(folder / "scenes"), "--count", "2"]
    options = ["--target", built.name, "--model", graph, "--out", str(tmp_path / "out"), *images]
    quiet(tmp_path, *PYTHON, "cli.main", "quantize", *options)
    if built.name == "jetson":
        quiet(tmp_path, *PYTHON, "cli.main", "lint", graph)
        quiet(tmp_path, *PYTHON, "cli.main", "prove", graph, ends=(0, 3))  # 3: TensorRT-RTX is not installed


def test_evaluate(folder: Path, tmp_path: Path) -> None:
    quiet(tmp_path, *PYTHON, "cli.main", "evaluate", str(folder / "tiny"), "--data", str(folder / "scenes"))


def test_training(tmp_path: Path) -> None:
    keys = {**settings(write_folder(tmp_path / "set"), tmp_path / "runs"), "steps": 1}
    config = write_config(tmp_path / "config.toml", keys)
    quiet(tmp_path, *PYTHON, "cli.main", "train", "--accelerator", "cpu", "--config", str(config))


def test_a_figure(tmp_path: Path) -> None:
    quiet(tmp_path, sys.executable, "-c", "from studies.figure import panels; panels(1, (1.0, 1.0))")


SESSION = """
import onnxruntime
from tests.bundle.made_onnx import graph
onnxruntime.InferenceSession(graph().SerializeToString())
"""


def test_without_the_switch_onnx_runtime_leaves_files(tmp_path: Path) -> None:
    """Its first connection comes seconds later, when a build is still running."""
    done, left = watched(tmp_path, sys.executable, "-c", SESSION)
    assert done.returncode == 0 and left, done.output


def test_without_the_switch_openvino_connects_and_leaves_files(tmp_path: Path) -> None:
    done, left = watched(tmp_path, sys.executable, "-c", "import openvino")
    assert done.returncode == 0 and done.attempts and left, done.output


def test_the_switch_is_enough_for_each(tmp_path: Path) -> None:
    switch = "from bundle.base.telemetry import switch_off_telemetry\nswitch_off_telemetry()\n"
    quiet(tmp_path, sys.executable, "-c", f"{switch}import openvino, nncf\n{SESSION}")
