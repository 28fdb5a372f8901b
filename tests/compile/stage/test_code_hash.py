"""A stage's key covers every file of ours that its code can reach."""

from pathlib import Path

import pytest

from compile.stage import code_hash as sources
from compile.stage.code_hash import ROOT, code_hash, source_files


def names(*modules: str) -> set[str]:
    """The files' paths below the root."""
    return {path.relative_to(ROOT).as_posix() for path in source_files(*modules)}


def test_imports_are_followed_through_modules_and_into_functions() -> None:
    found = names("compile.export")
    assert {
        "compile/export.py",
        "compile/graphs/clean.py",
        "bundle/tasks/preprocess.py",
        "tdss/model.py",
        "compile/graphs/io_wrappers.py",
        "tdss/kinds/unit_vector.py",  # a kind names it as text
    } <= found
    assert not {name for name in found if name.startswith(("report/", "cli/", "tests/"))}


def test_a_stage_does_not_depend_on_the_stages_after_it() -> None:
    assert not {"compile/quantize.py", "compile/evaluation/judge.py", "compile/pipeline.py"} & names("compile.export")


@pytest.mark.parametrize(
    ("stage", "worker"),
    [("compile.simplify", "compile/graphs/onnxsim_worker.py"), ("compile.build", "targets/jetson/rtx_worker.py")],
)
def test_what_runs_in_a_process_of_its_own_counts(stage: str, worker: str) -> None:
    assert worker in names(stage)


def test_a_module_that_is_none_of_ours_has_no_hash() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"compile\.vectors, numpy"):
        code_hash("compile.export", "compile.vectors", "numpy")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that imports another inside a function and names a third for a process; and one that has no part in it."""
    (tmp_path / "compile").mkdir()
    (tmp_path / "compile" / "one.py").write_text(
        "def f():\n    from compile import two\nRUN = ('-m', 'compile.worker')\n"
    )
    (tmp_path / "compile" / "two.py").write_text("import numpy\nX = 1\n")
    (tmp_path / "compile" / "three.py").write_text("Y = 1\n")
    (tmp_path / "compile" / "worker.py").write_text("Z = 1\n")
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    return tmp_path / "compile"


def test_the_hash_changes_with_any_reached_file_and_no_other(tree: Path) -> None:
    before = code_hash("compile.one")
    (tree / "three.py").write_text("Y = 2\n")
    assert code_hash("compile.one") == before
    (tree / "two.py").write_text("import numpy\nX = 2\n")
    imported = code_hash("compile.one")
    assert imported != before
    (tree / "worker.py").write_text("Z = 2\n")
    assert code_hash("compile.one") not in (before, imported)
