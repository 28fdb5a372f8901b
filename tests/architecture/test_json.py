"""Every JSON that is written or printed is JSON: NaN and Infinity, which Python writes, are no part of it."""

import ast
import json
from collections.abc import Iterator
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from bundle.base.frozen import Frozen
from bundle.base.strict_json import dumps
from tests.architecture.source import library, place, tree

TEXT_ONLY = {
    "bundle/base/strict_json.py": "the one that is strict",
    "bundle/judging/resume.py": "facts of a run become a key; what is written has allow_nan=False",
    "targets/jetson/device.py": "a version",
}
"""Files that may call json.dumps, and what they write: there is no float in it."""


def loose(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield every way of a module to write JSON that may hold NaN."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"json.dumps", "json.dump", "to_json"}:
            yield ast.unparse(node.func), node.lineno
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("BaseModel") for base in node.bases):
            yield f"{node.name}(BaseModel)", node.lineno


def test_no_module_writes_json_that_may_hold_nan() -> None:
    wrong = [
        f"{place(path, line)} {name}"
        for path in library()
        if not any(path.as_posix().endswith(name) for name in (*TEXT_ONLY, "bundle/base/frozen.py"))
        for name, line in loose(tree(path))
    ]
    assert wrong == []


@pytest.mark.parametrize("text", ["json.dumps(x)", "json.dump(x, f)", "class A(BaseModel):\n    x: float"])
def test_the_check_sees_them(text: str) -> None:
    assert len(list(loose(ast.parse(text)))) == 1


def every_value(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from every_value(inner)


def test_every_value_writes_null_for_nan_and_reads_none() -> None:
    """A subclass may set its own configuration, which would take the place of ours."""
    for module in (
        "bundle.formats.manifest",
        "bundle.judging.regression_report",
        "bundle.formats.fold",
        "compile.stage.config",
        "compile.quantization.mixed_precision",
        "report.bundle_page.tensorrt_checks",
    ):
        import_module(module)
    kinds = list(every_value(Frozen))
    assert len(kinds) > 20
    for kind in kinds:
        assert kind.model_config["ser_json_inf_nan"] == "null", kind
        assert kind.model_config["allow_inf_nan"] is False, kind


def strict(text: str) -> object:
    """Read JSON as its standard has it."""

    def refuse(token: str) -> float:
        raise AssertionError(f"{token} is no JSON")

    return json.loads(text, parse_constant=refuse)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_is_written_is_json(value: object) -> None:
    text = dumps(value)
    again = strict(text)
    assert dumps(again) == text
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        assert again is None
