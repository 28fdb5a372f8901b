"""What runs on a device is Python 3.10, as JetPack 6 ships it, whatever Python checks it."""

import ast
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, device_side, place, tree

# Modules, and names in modules, that came after 3.10.
NEW_MODULES = {"tomllib", "wsgiref.types", "asyncio.taskgroups"}
NEW_NAMES = {
    "asyncio": {"Runner", "TaskGroup", "timeout"},
    "contextlib": {"chdir"},
    "datetime": {"UTC"},
    "enum": {"EnumCheck", "ReprEnum", "StrEnum", "member", "nonmember", "verify"},
    "inspect": {"getmembers_static"},
    "itertools": {"batched"},
    "math": {"cbrt", "exp2", "sumprod"},
    "operator": {"call"},
    "typing": {
        "LiteralString",
        "Never",
        "NotRequired",
        "Required",
        "Self",
        "TypeAliasType",
        "TypeVarTuple",
        "Unpack",
        "assert_never",
        "assert_type",
        "dataclass_transform",
        "override",
        "reveal_type",
    },
}
NEW_BUILTINS = {"BaseExceptionGroup", "ExceptionGroup"}
NEW_METHODS = {"add_note", "walk"}  # of exceptions and of pathlib.Path


def newer_than_310(module: ast.Module) -> list[tuple[str, int]]:
    """Name what a module uses that Python 3.10 has not, with its line."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names if alias.name in NEW_MODULES]
        elif isinstance(node, ast.ImportFrom):
            new = NEW_NAMES.get(node.module or "", set())
            found += [(f"{node.module}.{a.name}", node.lineno) for a in node.names if a.name in new]
            found += [(str(node.module), node.lineno)] if node.module in NEW_MODULES else []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in NEW_NAMES.get(node.value.id, set()) or (
                node.attr in NEW_METHODS and node.value.id != "ast"
            ):
                found.append((f"{node.value.id}.{node.attr}", node.lineno))
        elif isinstance(node, ast.Name) and node.id in NEW_BUILTINS:
            found.append((node.id, node.lineno))
    return found


@pytest.mark.parametrize("path", device_side(), ids=lambda path: str(path.relative_to(ROOT)))
def test_parses_as_python_310(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


def test_uses_nothing_newer_than_310() -> None:
    wrong = [f"{place(path, line)} uses {name}" for path in device_side() for name, line in newer_than_310(tree(path))]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import tomllib", "tomllib"),
        ("from datetime import UTC", "datetime.UTC"),
        ("import datetime\nnow = datetime.UTC", "datetime.UTC"),
        ("from enum import StrEnum", "enum.StrEnum"),
        ("raise ExceptionGroup('', [])", "ExceptionGroup"),
    ],
)
def test_the_check_sees_new_names(text: str, name: str) -> None:
    assert [found for found, _ in newer_than_310(ast.parse(text))] == [name]


@pytest.mark.parametrize(
    "text", ["try:\n  pass\nexcept* ValueError:\n  pass", "type X = int", "def f[T](x: T) -> T: ..."]
)
def test_the_check_refuses_new_grammar(text: str) -> None:
    with pytest.raises(SyntaxError):
        ast.parse(text, feature_version=(3, 10))
