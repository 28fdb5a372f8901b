"""typings/tensorrt, which mypy reads where TensorRT is not installed, against a real module of NVIDIA's."""

import ast

import pytest

from tests.architecture.source import ROOT

STUB = ast.parse((ROOT / "typings" / "tensorrt" / "__init__.pyi").read_text(encoding="utf-8"))


def named() -> list[tuple[str, str]]:
    """Every class of the stub with each of its members."""
    found = []
    for node in STUB.body:
        if isinstance(node, ast.ClassDef):
            members = [m for m in node.body if isinstance(m, ast.FunctionDef | ast.Assign | ast.AnnAssign)]
            names = [m.name if isinstance(m, ast.FunctionDef) else ast.unparse(target(m)) for m in members]
            found += [(node.name, name) for name in names if name != "__buffer__"]
    return found


def target(node: ast.Assign | ast.AnnAssign) -> ast.expr:
    """What an assignment names."""
    return node.target if isinstance(node, ast.AnnAssign) else node.targets[0]


@pytest.mark.parametrize(("kind", "member"), named())
def test_every_name_is_nvidias(kind: str, member: str) -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs the extra 'proof' (x86-64)")
    assert hasattr(getattr(rtx, kind), member)
