"""A stage's key covers every file of ours that its code can reach."""

from pathlib import Path

import pytest

from compile import sources
from compile.sources import ROOT, code_hash, source_files


def names(*modules: str) -> set[str]:
    """The files' paths below the root."""
    return {path.relative_to(ROOT).as_posix() for path in source_files(*modules)}


def test_imports_are_followed_through_modules_and_into_functions() -> None:
    found = names("compile.export")
    assert {
        "compile/export.py",
        "compile/clean.py",
        "bundle/preprocess.py",
        "tdss/model.py",
        "compile/fold.py",
    } <= found
    assert not {name for name in found if name.startswith(("report/", "cli/", "tests/"))}


def test_a_stage_does_not_depend_on_the_stages_after_it() -> None:
    assert not {"compile/quantize.py", "compile/judge.py", "compile/pipeline.py"} & names("compile.export")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two modules, one imported by the other inside a function."""
    (tmp_path / "compile").mkdir()
    (tmp_path / "compile" / "one.py").write_text("def f():\n    from compile import two\n")
    (tmp_path / "compile" / "two.py").write_text("import numpy\nX = 1\n")
    (tmp_path / "compile" / "three.py").write_text("Y = 1\n")
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    return tmp_path / "compile"


def test_the_hash_changes_with_any_reached_file_and_no_other(tree: Path) -> None:
    before = code_hash("compile.one")
    (tree / "three.py").write_text("Y = 2\n")
    assert code_hash("compile.one") == before
    (tree / "two.py").write_text("import numpy\nX = 2\n")
    assert code_hash("compile.one") != before
