"""The rules and the proof as files of a bundle."""

import json
from pathlib import Path
from typing import Literal

import onnx_ir as ir
import pytest

from bundle.base.errors import GraphError, PlanFailed
from bundle.formats.tensorrt_checks import Gate, Proof, read_proof
from compile.tensorrt_checks import check_build as checks
from compile.tensorrt_checks.plan_text import require_plan
from targets.base import Variant, VariantRecipe
from targets.table import TARGETS
from tests.compile.tensorrt_checks.rules.made import GOOD, parse

RECIPE = VariantRecipe(name="int8", graph="quantized", hint="f32", reason="a test")
VARIANT = Variant(recipe=RECIPE, files=("int8.onnx", "int8.emulation.onnx"))
NOT_RUN = Proof(status="not run", reason="a test")


@pytest.fixture(autouse=True)
def _no_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "prove", lambda graphs: NOT_RUN)


def test_both_files_are_written_about_the_graphs_that_ship(tmp_path: Path) -> None:
    ir.save(parse(GOOD), tmp_path / "int8.onnx")
    checks.write_checks(tmp_path, TARGETS["jetson"], [VARIANT])
    [report] = json.loads((tmp_path / "lint.json").read_text())["graphs"]
    assert (report["graph"], report["findings"]) == ("int8.onnx", [])
    assert read_proof(tmp_path) == NOT_RUN


def test_a_target_without_rules_gets_no_file(tmp_path: Path) -> None:
    checks.write_checks(tmp_path, TARGETS["intel"], [VARIANT])
    assert list(tmp_path.iterdir()) == []


def test_an_error_fails_the_build_and_says_where_and_how_to_mend_it(tmp_path: Path) -> None:
    ir.save(parse(GOOD.replace("int8 z = {0}", "uint8 z = {0}")), tmp_path / "int8.onnx")
    with pytest.raises(GraphError, match=r"int8\.onnx breaks 1 rules for TensorRT 10\.3") as caught:
        checks.write_checks(tmp_path, TARGETS["jetson"], [VARIANT])
    assert "symmetric-int8" in caught.value.got and "make_activations_signed" in caught.value.fix


def test_a_refusal_by_the_parser_fails_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "prove", lambda graphs: Proof(status="refused", reason="int8.onnx: no"))
    ir.save(parse(GOOD), tmp_path / "int8.onnx")
    with pytest.raises(GraphError, match="refuses a graph") as caught:
        checks.write_checks(tmp_path, TARGETS["jetson"], [VARIANT])
    assert caught.value.got == "int8.onnx: no"


def test_a_plan_that_fails_a_gate_leaves_the_bundle_whole_and_ends_the_build_naming_the_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(graph="int8.onnx", says="as many", status="failed", got="11 of 12", nodes=("a/MatMul",))
    monkeypatch.setattr(checks, "prove", lambda graphs: Proof(status="accepted", gates=(gate,)))
    ir.save(parse(GOOD), tmp_path / "int8.onnx")
    checks.write_checks(tmp_path, TARGETS["jetson"], [VARIANT])
    with pytest.raises(PlanFailed, match=r"the plans of int8\.onnx fail 1 plan check") as caught:
        require_plan(tmp_path, VARIANT.files)
    assert (caught.value.expected, caught.value.got) == ("as many", "11 of 12: a/MatMul")
    assert caught.value.exit_code == 1
    require_plan(tmp_path, ("f16.onnx",))  # another variant ships


@pytest.mark.parametrize("status", ["held", "not run"])
def test_a_gate_that_holds_or_was_not_run_ends_nothing(tmp_path: Path, status: Literal["held", "not run"]) -> None:
    require_plan(tmp_path, VARIANT.files)
    gate = Gate(graph="int8.onnx", says="as many", status=status, got="12 of 12")
    (tmp_path / "proof.json").write_text(Proof(status="accepted", gates=(gate,)).model_dump_json())
    require_plan(tmp_path, VARIANT.files)


def test_the_row_of_a_graph(tmp_path: Path) -> None:
    ir.save(parse(GOOD.replace("int8 z = {0}", "uint8 z = {0}")), tmp_path / "naive.onnx")
    row = checks.check_graph(tmp_path / "naive.onnx")
    assert (row.errors, row.broken, row.parsed, row.reason) == (1, ("symmetric-int8",), None, "a test")
