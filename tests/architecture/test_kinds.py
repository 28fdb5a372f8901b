"""No module outside of the kinds and the task table asks which kind or which task it has before it."""

import ast
from collections.abc import Iterator

import pytest

from bundle.tasks.table import TASKS
from tests.architecture.source import ROOT, imports, library, place, tree

KINDS = {type(row.kind) for row in TASKS}
MODULES = {module for kind in KINDS for module in (kind.__module__, kind.tensors)}
OWN = {ROOT.joinpath(*module.split(".")).with_suffix(".py") for module in MODULES} | {ROOT / "bundle/tasks/table.py"}
# "edge" is also an interface of a bundle and a mode of Pad.
NAMES = {kind.__name__ for kind in KINDS} | {"argmax", "sigmoid", "unit"} | {row.name for row in TASKS} - {"edge"}


def compared(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Name the strings that a module compares with, looks up in a table or matches, with their lines."""
    for node in ast.walk(module):
        parts: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value]
        elif isinstance(node, ast.For | ast.comprehension):
            parts = [node.iter] if isinstance(node.iter, ast.Tuple | ast.List | ast.Set) else []
        elif isinstance(node, ast.Subscript):
            parts = [node.slice]
        for inner in (inner for part in parts for inner in ast.walk(part)):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                yield inner.value, inner.lineno


def test_nothing_compares_with_the_name_of_a_kind_or_a_task() -> None:
    others = (path for path in library() if path not in OWN)
    wrong = [f"{place(path, line)} {name}" for path in others for name, line in compared(tree(path)) if name in NAMES]
    assert wrong == []


def test_a_kind_is_imported_by_its_own_files_and_the_table_only() -> None:
    wrong = [
        place(path, line) for path in library() if path not in OWN for name, line in imports(path) if name in MODULES
    ]
    assert wrong == []


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_each_kind_says_everything_that_is_asked_of_it(kind: type) -> None:
    """A class variable without a value is an error at its first use only."""
    asked = [name for base in kind.__mro__ for name in vars(base).get("__class_vars__", ())]
    assert len(asked) > 10 and [name for name in asked if not hasattr(kind, name)] == []


@pytest.mark.parametrize(
    "text",
    [
        'x = kind == "argmax"',
        'x = name in ("depth", "normals")',
        'x = labels["depth"]',
        'x = [y for y in ("normals", "depth") if y]',
        'match kind:\n  case "LabelMap":\n    pass',
    ],
)
def test_the_check_sees_names(text: str) -> None:
    assert {name for name, _ in compared(ast.parse(text))} & NAMES
