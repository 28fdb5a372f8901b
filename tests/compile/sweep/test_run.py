"""A sweep of two tiny models for three targets: on a cluster it leaves what it leaves one by one, whoever is killed."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bundle.formats.artifacts import SIDECAR, Record
from bundle.formats.folder_lock import LOCK
from bundle.judging.regression_report import RESULT
from compile.stage import cluster
from compile.stage.store import STORE
from compile.sweep.run import PAGE, RESULTS_FOLDER
from compile.sweep.unit import LOG
from tests.cli.run import tdss
from tests.compile.made import ROOT, TASKS

Patch = pytest.MonkeyPatch
TARGETS = ("intel", "jetson", "onnxruntime")
UNITS = [f"{model}/{target}/plain/0" for model in ("one", "two") for target in TARGETS]


def written(folder: Path, models: tuple[Path, Path], scenes: Path, out: Path, targets: Sequence[str] = TARGETS) -> Path:
    """Write a sweep's file. No target ships a less precise variant for its speed: times decide nothing."""
    path = folder / f"{out.name}.toml"
    path.write_text(
        f'targets = {list(targets)}\nout = "{out}"\n'
        f'[models.one]\ncheckpoint = "{models[0]}"\n[models.two]\ncheckpoint = "{models[1]}"\n'
        f'[build]\ndata = "{scenes}"\nthreads = 1\nbudgets = {{ {", ".join(f"{name} = 10.0" for name in TASKS)} }}\n'
        "evaluation = { hard = 0 }\ncalibration = { count = 2 }\nsearch.enabled = false\n"
        "timing = { runs = 2, warmup = 1, again = 0, gain = 0.01 }\n"
    )
    return path


@pytest.fixture(scope="module")
def models(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tiny checkpoint, and the same under another name."""
    other = tmp_path_factory.mktemp("models") / "other"
    shutil.copytree(checkpoint, other)
    config = other / "config.toml"
    config.write_text(config.read_text().replace('name = "tiny"', 'name = "other"'))
    return checkpoint, other


@pytest.fixture(scope="module")
def serial(models: tuple[Path, Path], scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep without a cluster."""
    folder = tmp_path_factory.mktemp("serial")
    subprocess.run(sweep(written(folder, models, scenes, folder / "out")), check=True, cwd=folder, capture_output=True)
    return folder / "out"


def sweep(path: Path, *words: str) -> list[str]:
    """The command line of a sweep."""
    code = f"import sys; sys.path.append({str(ROOT)!r}); from cli.main import run; run(sys.argv[1:])"
    return [sys.executable, "-c", code, "sweep", str(path), *words]


def made(out: Path) -> dict[str, dict[str, str]]:
    """The files and hashes of every entry of the store but those that hold times."""
    records = [path for path in (out / STORE).glob(f"*/*/{SIDECAR}") if path.parts[-3] not in ("judge", "sweep")]
    return {
        f"{path.parts[-3]}/{path.parts[-2]}": Record.model_validate_json(path.read_bytes()).files for path in records
    }


def judged(out: Path) -> dict[str, object]:
    """What each unit's result says, per-image arrays and verdicts, but for times, the sentences and the bundle that hold them."""

    def timeless(value: object) -> object:
        if isinstance(value, dict):
            timed = ("bundle", "chosen", "reason")
            return {key: timeless(one) for key, one in value.items() if key not in timed and "_ms" not in key}
        return [timeless(one) for one in value] if isinstance(value, list) else value

    return {name: timeless(json.loads((out / RESULTS_FOLDER / name / RESULT).read_text())) for name in UNITS}


def logs(out: Path) -> dict[str, int]:
    """When each unit was built last."""
    return {name: (out / "units" / name / LOG).stat().st_mtime_ns for name in UNITS}


@pytest.mark.slow
def test_two_workers_leave_what_one_leaves_even_if_one_is_killed(
    serial: Path, models: tuple[Path, Path], scenes: Path, tmp_path: Path
) -> None:
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    out = tmp_path / "out"
    line = sweep(written(tmp_path, models, scenes, out), "--workers", "2", "--json")
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        wait_for(lambda: any((out / STORE).glob(f"export/*/{SIDECAR}")), running)
        [victim, *_] = [pid for pid in children(running.pid) if any("pipeline" in words(one) for one in children(pid))]
        os.kill(victim, signal.SIGKILL)
        answer, said = running.communicate(timeout=900)
    assert running.returncode == 0, said
    assert [row["name"] for row in json.loads(answer)] == UNITS
    expected = made(serial)
    assert {name.partition("/")[0] for name in expected} >= {"export", "fold", "quantize", "build", "vectors", "images"}
    assert made(out) == expected and judged(out) == judged(serial)
    assert all(name in (out / PAGE).read_text() for name in UNITS)
    before = logs(out)
    assert subprocess.run(line, check=True, cwd=tmp_path, capture_output=True, text=True).stdout == answer
    assert logs(out) == before


def wait_for(ready: Callable[[], bool], running: "subprocess.Popen[str]") -> None:
    """Wait until something is there while a process runs."""
    while not ready():
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid:
            found.append(int(status.parent.name))
    return found


def words(pid: int) -> list[str]:
    """The command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def test_two_sweeps_of_one_folder_are_one_error(
    models: tuple[Path, Path], scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, models, scenes, tmp_path / "out")
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / LOCK).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        code, _, err = tdss("sweep", str(path), capsys=capsys)
    assert code == 2 and "another sweep is writing here" in err
    assert [one.name for one in (tmp_path / "out").iterdir()] == [LOCK]


def test_an_open_address_is_one_error(
    models: tuple[Path, Path], scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, models, scenes, tmp_path / "out")
    code, _, err = tdss("sweep", str(path), "--scheduler", "tcp://127.0.0.1:8786", capsys=capsys)
    assert code == 2 and "runs code on its workers" in err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_one_error_and_nothing_is_lost(
    models: tuple[Path, Path], scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Patch
) -> None:
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    path = written(tmp_path, models, scenes, tmp_path / "out")
    before = tmp_path / "out" / RESULTS_FOLDER / UNITS[0] / RESULT
    before.parent.mkdir(parents=True)
    before.write_text("of an earlier sweep")
    code, _, err = tdss("sweep", str(path), "--scheduler", "tcp://127.0.0.1:9", "--insecure", capsys=capsys)
    assert code == 2 and err.count("error: ") == 1 and "the scheduler cannot be reached" in err
    assert "Traceback" not in err and before.read_text() == "of an earlier sweep"


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_store_that_cannot_be_written_is_one_error(
    models: tuple[Path, Path], scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], scheme: str
) -> None:
    path = written(tmp_path, models, scenes, tmp_path / "out")
    (tmp_path / "file").write_text("mine")
    path.write_text(f'store = "{scheme}{tmp_path}/file/store"\n{path.read_text()}')
    code, _, err = tdss("sweep", str(path), capsys=capsys)
    assert code == 2 and err.count("error: ") == 1 and f"{tmp_path}/file" in err and "Traceback" not in err
    assert ("the stage store cannot be reached or written" in err) == bool(scheme)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_a_unit_that_cannot_be_built_is_a_row_and_the_others_go_on(
    models: tuple[Path, Path], scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, models, scenes, tmp_path / "out", targets=TARGETS[:1])
    path.write_text(f'{path.read_text()}[variants.wrong]\nevaluation.split = "none"\n')
    code, out, err = tdss("sweep", str(path), capsys=capsys)
    assert code == 1 and "2 of 2 units are not within every budget, or were not built" in err
    assert out.count("not built: ") == out.count("the data set has no split 'none'") == 2
