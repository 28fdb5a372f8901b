"""What reports home or writes into it is imported only where that was switched off a line before."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.architecture.source import library, place, tree
from tests.architecture.test_imports import OWNERS

SENDERS = {"nncf", "onnxruntime", "onnxsim", "openvino"}  # or they import one that does
WRITERS = {"lightning", "matplotlib"}  # matplotlib's list of fonts
SWITCH, APART = "switch_off_telemetry()", "font_cache_apart()"


def runtime_imports(node: ast.AST, packages: set[str]) -> Iterator[ast.stmt]:
    """Every import of one of ``packages`` below a node that runs, so not those for the type checker alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        names = [alias.name for alias in child.names] if isinstance(child, ast.Import) else []
        names += [child.module or ""] if isinstance(child, ast.ImportFrom) else []
        if isinstance(child, ast.stmt) and {name.partition(".")[0] for name in names} & packages:
            yield child
        yield from runtime_imports(child, packages)


def unswitched(module: ast.Module) -> list[int]:
    """Lines that import a sender where no earlier line of the same function switches telemetry off."""
    safe = {
        found
        for function in ast.walk(module)
        if isinstance(function, ast.FunctionDef)
        for call in function.body
        if isinstance(call, ast.Expr) and ast.unparse(call) == SWITCH
        for found in runtime_imports(function, SENDERS)
        if found.lineno > call.lineno
    }
    return sorted(found.lineno for found in set(runtime_imports(module, SENDERS)) - safe)


def not_apart(module: ast.Module) -> list[int]:
    """Lines that import a writer outside of ``with font_cache_apart()``."""
    safe = {
        found
        for block in ast.walk(module)
        if isinstance(block, ast.With) and [ast.unparse(item) for item in block.items] == [APART]
        for found in runtime_imports(block, WRITERS)
    }
    return sorted(found.lineno for found in set(runtime_imports(module, WRITERS)) - safe)


def test_telemetry_is_off_before_what_sends_it_is_imported() -> None:
    assert [place(path, line) for path in library() for line in unswitched(tree(path))] == []


def test_matplotlib_keeps_its_fonts_out_of_the_home() -> None:
    assert [place(path, line) for path in library() for line in not_apart(tree(path))] == []


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("import openvino", True),
        ("from nncf import quantize", True),
        ("import onnxruntime.capi", True),
        ("def f():\n    switch_off_telemetry()\n    import openvino", False),
        ("def f():\n    switch_off_telemetry()\n    try:\n        import openvino\n    finally:\n        g()", False),
        ("def f():\n    import openvino\n    switch_off_telemetry()", True),
        ("def f():\n    switch_off_telemetry()\ndef g():\n    import openvino", True),
        ("if TYPE_CHECKING:\n    import openvino", False),
        ("import numpy", False),
    ],
)
def test_the_check_sees_an_import_that_is_not_switched_off(body: str, wrong: bool) -> None:
    assert bool(unswitched(ast.parse(body))) == wrong


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("from matplotlib.figure import Figure", True),
        ("import lightning.fabric", True),
        ("with font_cache_apart():\n    from matplotlib.figure import Figure", False),
        ("with nothing():\n    from matplotlib.figure import Figure", True),
    ],
)
def test_the_check_sees_a_font_cache_in_the_home(body: str, wrong: bool) -> None:
    assert bool(not_apart(ast.parse(body))) == wrong


def test_no_other_package_of_ours_imports_one_of_them() -> None:
    """Else its import had to be switched off, too."""
    others = [name for name in OWNERS if name not in SENDERS | WRITERS and find_spec(name) is not None]
    code = "import importlib, json, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    code += "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code, *others], capture_output=True, text=True, check=True, cwd="/")
    assert len(others) > 5 and set(json.loads(done.stdout)) & (SENDERS | WRITERS | {"openvino_telemetry"}) == set()
