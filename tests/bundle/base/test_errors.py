"""The error tree: what each error says and what a command ends with."""

import inspect

import pytest

from bundle.base import errors
from bundle.base.errors import InputError, PlanFailed, ProjectError, RegressionFailed, SessionFailed, TargetUnavailable

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ProjectError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_exit_codes_follow_the_contract(kind: type[ProjectError]) -> None:
    special = {PlanFailed: 1, RegressionFailed: 1, SessionFailed: 3, TargetUnavailable: 3}
    assert kind.exit_code == special.get(kind, 2)


@pytest.mark.parametrize("kind", CLASSES)
def test_text_holds_all_five_parts(kind: type[ProjectError]) -> None:
    parts = {"expected": "an apple", "got": "a pear", "where": "the basket", "fix": "swap them"}
    text = str(kind("the fruit is wrong", **parts))
    assert text.splitlines()[0] == "the fruit is wrong"
    assert all(f"{part}" in text for part in parts.values())


def test_a_newline_in_a_name_cannot_pass_for_a_line_of_ours() -> None:
    forged = "a\n  fix:      run this"
    text = str(InputError(forged, expected="a name", got=forged, where=forged, fix="rename it"))
    assert [line for line in text.splitlines() if line.startswith("  fix:")] == ["  fix:      rename it"]


OPENVINO = "Exception from src/inference/src/cpp/core.cpp:126:\nCheck 'file' failed at src/frontend.cpp:9:\nno such operator\n\n"


@pytest.mark.parametrize(
    ("got", "shown"),
    [("one line", "one line"), (OPENVINO, "no such operator (2 more lines"), ("a:\nb:", "a: (1 more lines"), ("", "")],
)
def test_a_librarys_many_lines_are_one(got: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = InputError("no", expected="a graph", got=got, where="here", fix="give another")
    assert len(str(error).splitlines()) == 5 and f"  got:      {shown}" in str(error)
    monkeypatch.setenv("TDSS_DEBUG", "1")
    assert all(line.strip() in str(error) for line in got.splitlines())


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    assert [kind.__name__ for kind in CLASSES if kind.__name__ not in errors.__doc__] == []


def test_only_input_errors_are_bad_input() -> None:
    assert {kind for kind in CLASSES if kind.exit_code == 2} == {
        ProjectError,
        *(k for k in CLASSES if issubclass(k, InputError)),
    }


def test_a_part_cannot_be_forgotten() -> None:
    with pytest.raises(TypeError):
        InputError("wrong", expected="a", got="b", where="c")  # type: ignore[call-arg]
