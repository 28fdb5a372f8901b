"""Every case gets its right answer from lint and, where TensorRT-RTX is installed, from the proof."""

from pathlib import Path

import onnx_ir as ir
import pytest

from compile.tensorrt_checks.operators import SINCE, VERSIONS, table_of
from compile.tensorrt_checks.run import lint_model
from studies.lint_agreement.agreement import compare
from studies.lint_agreement.cases import CASES, Case
from studies.lint_agreement.one_node import MADE, NAMES, one_node
from studies.lint_agreement.quantized_cases import QUANTIZED
from targets.jetson.rtx import unavailable

ALL = (*CASES, *QUANTIZED)
ABOUT_SPEED = {"float-operator", "fused-attention"}  # the cases are too small to be fast
CONTROL = {"Constant", "ConstantOfShape", "DequantizeLinear", "If", "Loop", "QuantizeLinear", "Scan"}
FIRST = (ir.DataType.FLOAT, ir.DataType.BOOL, ir.DataType.INT64)
needs_rtx = pytest.mark.skipif(bool(unavailable()), reason=f"a build by TensorRT-RTX needs it: {unavailable()}")


def rules(model: ir.Model, version: str) -> set[str]:
    """The rules that a graph breaks, but for those about speed."""
    return {finding.rule for finding in lint_model(model, "made", version=version).findings} - ABOUT_SPEED


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_lint_gives_the_right_answer(case: Case) -> None:
    assert rules(case.model(), VERSIONS[0]) == set(case.rules)
    assert rules(case.model(), VERSIONS[-1]) == set(case.rules if case.newer is None else case.newer)


def test_names_are_unique() -> None:
    assert len({case.name for case in ALL}) == len(ALL)


@pytest.mark.slow
@needs_rtx
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_the_proof_gives_the_right_answer(case: Case, tmp_path: Path) -> None:
    ir.save(case.model(), tmp_path / "model.onnx")
    row = compare(tmp_path / "model.onnx", case.shapes)
    status, _, share = row.proof.partition(", ")
    assert status == case.proof
    assert row.agree == ("" if case.proof == "not judged" else "yes")
    if case.int8 >= 0:
        assert share == (f"{case.int8}% INT8" if case.int8 else "")


def test_every_operator_of_the_newest_table_has_a_graph() -> None:
    assert set(table_of(VERSIONS[-1]).operators) - CONTROL == set(MADE)


@pytest.mark.parametrize("operator", MADE)
def test_an_operator_is_known_in_its_first_type_from_its_version_on(operator: str) -> None:
    added = {one.operator: one.version for one in SINCE}
    for version in VERSIONS:
        table = table_of(version)
        types = table_of(VERSIONS[-1]).operators[operator]
        kind = next(one for one in FIRST if one in types)
        found = {f.rule for f in lint_model(one_node(operator, kind), "made", version=version).errors}
        old = operator in added and operator not in table.operators
        assert found == ({"known-operator"} if old or (operator == "Mod" and kind == ir.DataType.FLOAT) else set())


@pytest.mark.slow
@needs_rtx
@pytest.mark.parametrize("operator", MADE)
def test_the_types_of_an_operator_are_those_that_nvidia_takes(operator: str, tmp_path: Path) -> None:
    for kind in NAMES:
        ir.save(one_node(operator, kind), tmp_path / "model.onnx")
        row = compare(tmp_path / "model.onnx", {}, f"{operator} {kind.name}")
        assert row.agree in ("yes", ""), row
