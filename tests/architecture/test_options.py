"""Every number of a command line has bounds, and those are of the table in bundle/base/limits.py."""

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import get_type_hints

import pytest

from bundle.base.limits import LIMITS
from tests.architecture.source import ROOT, library, place, tree

CHECKED_BY_CONFIG = ("compile.pipeline",)
"""Their options become a BuildConfig, whose types have the bounds (tests/compile/stage/test_config.py)."""


def numbers(module: str) -> Iterator[tuple[str, float | None, float | None]]:
    """Yield each numeric option of a module's ``main``: its name and its bounds."""
    for name, hint in get_type_hints(inspect.unwrap(import_module(module).main), include_extras=True).items():
        kind, *more = (getattr(hint, "__origin__", hint), *getattr(hint, "__metadata__", ()))
        if more and hasattr(more[0], "param_decls") and any(word in str(kind) for word in ("int", "float")):
            yield name, more[0].min, more[0].max


def commands() -> list[str]:
    """Return every module whose ``main`` typer reads."""
    found = [path for path in library() if "typer.Option" in path.read_text() and "def main(" in path.read_text()]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in found]


@pytest.mark.parametrize("module", [name for name in commands() if name not in CHECKED_BY_CONFIG])
def test_every_number_of_a_command_has_bounds_of_the_table(module: str) -> None:
    most = {limit.most for limit in LIMITS.values()}
    for name, low, high in numbers(module):
        assert low is not None and high in most, f"{module} {name}"


def test_the_check_sees_numbers() -> None:
    assert len(commands()) > 25
    assert {name for name, *_ in numbers("compile.quantize")} == {"count", "seed", "threads"}


def test_no_number_of_argparse_is_without_bounds() -> None:
    bare = [
        place(path, node.lineno)
        for path in library()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.keyword) and node.arg == "type" and ast.unparse(node.value) in {"int", "float"}
    ]
    assert bare == []
