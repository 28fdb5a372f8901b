"""The stage store: what makes a key, what a killed run leaves, what happens to a damaged entry."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select

import pytest

from bundle.formats.artifacts import Exported, load
from bundle.formats.outputs import anything, artifact, replacing, sweep
from compile.stage import store
from compile.stage.store import StageKey, keep, obtain, seal, stage_key, tool_versions, writing
from compile.stage.tools import STAGES

HEX = "0123456789abcdef" * 2
KEY = StageKey(stage="export", inputs=("a",), settings={"io": "raw"}, code="c", tools={"torch": "2"})


def make(folder: Path, text: str = "graph") -> Exported:
    """Write an artifact whose one file holds ``text``."""
    with replacing(folder, anything) as temporary:
        (temporary / "model.onnx").write_text(text)
        seal(Exported, temporary, tools={})
    return load(Exported, folder)


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "fold"},
        {"inputs": ("b",)},
        {"inputs": ("a", "a")},
        {"settings": {"io": "edge"}},
        {"code": "d"},
        {"tools": {"torch": "3"}},
    ],
)
def test_a_key_depends_on_everything_that_decides_the_answer(change: dict[str, object]) -> None:
    assert KEY.model_copy(update=change).digest != KEY.digest
    assert KEY.model_copy(update={"settings": {"io": "raw"}}).digest == KEY.digest


def test_a_key_has_the_code_and_the_tools_of_its_stage() -> None:
    keys = {name: stage_key(name, inputs=(), settings={}) for name in STAGES}
    assert len({key.code for key in keys.values()}) == len(STAGES)
    assert keys["export"].tools["onnx"][0].isdigit() and tool_versions("no-such-tool") == {"no-such-tool": "absent"}


def test_a_stage_runs_once(tmp_path: Path) -> None:
    said: list[str] = []
    first = obtain(tmp_path, Exported, KEY, make, said.append)
    again = obtain(tmp_path, Exported, KEY, lambda folder: pytest.fail("it ran again"), said.append)
    assert first == again
    assert said == []


def test_a_damaged_entry_is_made_again_and_named(tmp_path: Path) -> None:
    said: list[str] = []
    entry = obtain(tmp_path, Exported, KEY, make, said.append).folder
    (entry / "model.onnx").write_text("grapf")
    assert obtain(tmp_path, Exported, KEY, make, said.append).file("model.onnx").read_text() == "graph"
    assert said == [f"export: model.onnx was altered in {KEY.digest}: made again"]


def test_what_a_killed_run_left_is_swept_before_the_next(tmp_path: Path) -> None:
    stage = tmp_path / "export"
    half = stage / f".{KEY.digest}.{HEX}.tmp"
    half.mkdir(parents=True)
    (half / "model.onnx").write_text("gra")
    obtain(tmp_path, Exported, KEY, make, lambda line: None)
    assert sorted(path.name for path in stage.iterdir()) == [f".{KEY.digest}.lock", KEY.digest]


def test_a_folder_caught_between_two_renames_is_put_back(tmp_path: Path) -> None:
    old = make(tmp_path / "intel")
    (tmp_path / "intel").rename(tmp_path / f".intel.{HEX}.old")
    sweep(tmp_path, artifact(Exported))
    assert load(Exported, tmp_path / "intel") == old
    make(tmp_path / f".intel.{HEX[::-1]}.old")
    sweep(tmp_path, artifact(Exported))
    assert [path.name for path in tmp_path.iterdir()] == ["intel"]


def test_a_script_sweeps_what_was_left_of_its_own_folder_only(tmp_path: Path) -> None:
    mine, other = tmp_path / f".out.{HEX}.tmp", tmp_path / f".else.{HEX}.tmp"
    mine.mkdir()
    other.mkdir()
    with writing(tmp_path / "out", Exported) as folder:
        assert not mine.exists() and folder.is_dir()
    assert other.exists() and (tmp_path / "out").is_dir()


def test_a_stage_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> Exported:
        with replacing(folder, anything) as temporary:
            (temporary / "model.onnx").write_text("gra")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        obtain(tmp_path, Exported, KEY, fail, lambda line: None)
    assert [path.name for path in (tmp_path / "export").iterdir()] == [f".{KEY.digest}.lock"]


def test_files_are_kept_by_their_key_and_made_again_where_one_is_missing(tmp_path: Path) -> None:
    written, said = list[Path](), list[str]()

    def write(folder: Path) -> None:
        (folder / "plan.json").write_text("{}")
        written.append(folder)

    kept = keep(tmp_path, KEY, write, said.append)
    assert keep(tmp_path, KEY, write, said.append) == kept and kept.file("plan.json").read_text() == "{}"
    kept.file("plan.json").unlink()
    assert keep(tmp_path, KEY, write, said.append) == kept and len(written) == 2
    assert said == [f"export: plan.json is missing in {KEY.digest}: made again"]
    keep(tmp_path, KEY.model_copy(update={"inputs": ("b",)}), write, said.append)
    assert len(written) == 3


@contextmanager
def locking(folder: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a process that has said that it asks for the lock, and says so when it has it; it is killed in the end."""
    code = f"""
import sys, time
sys.path.insert(0, {str(Path(store.__file__).resolve().parents[2])!r})
from pathlib import Path
from compile.stage.store import locked
print("asks", flush=True)
with locked(Path({str(folder)!r})):
    print("holds", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            assert said(process) == b"asks\n"
            yield process
        finally:
            process.kill()


def said(process: "subprocess.Popen[bytes]") -> bytes:
    """The next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_second_build_waits_for_the_first_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    with locking(tmp_path) as holder:
        assert said(holder) == b"holds\n"
        with locking(tmp_path) as waiting:
            assert select([waiting.stdout], [], [], 0.5)[0] == [], "two processes hold the lock"
            holder.kill()
            assert said(waiting) == b"holds\n"
