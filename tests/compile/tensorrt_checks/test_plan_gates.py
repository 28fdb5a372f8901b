"""The gates of a bundle's plans."""

import pytest

from bundle.formats.tensorrt_checks import GraphProof
from compile.tensorrt_checks.plan_gates import FEWER, FUSED, gates
from tests.report.bundle_page.test_tensorrt_checks import GRAPH

F16 = GRAPH.model_copy(update={"graph": "f16.onnx", "not_fused": (), "read_bytes": 500, "written_bytes": 500})
INT8 = F16.model_copy(update={"graph": "int8.onnx", "written_bytes": 400})
SPENT = {"f16.onnx": {"a": 5e6, "b": 1e6}, "int8.onnx": {"a": 4e6, "b": 3e6, "new/Q": 4e6}}
NAMES = ("float.onnx", "f16.onnx", "int8.onnx")


def test_both_hold_where_the_plan_is_better() -> None:
    fused, fewer = gates(NAMES, (F16, INT8))
    assert [(gate.says, gate.status, gate.nodes) for gate in (fused, fewer)] == [
        (FUSED, "held", ()),
        (FEWER, "held", ()),
    ]
    assert fused.got == "12 of 12 in int8.onnx, 12 of 12 in f16.onnx"


def test_a_byte_of_a_weight_counts_as_one_of_an_activation() -> None:
    more = INT8.model_copy(update={"written_bytes": 600, "weight_bytes": F16.weight_bytes - 200})
    for lighter, status in ((0, "held"), (100, "failed"), (101, "failed")):
        _, fewer = gates(NAMES, (F16, more.model_copy(update={"weight_bytes": more.weight_bytes + lighter})))
        assert fewer.status == status


def test_an_attention_that_only_fp16_fuses_fails_by_name() -> None:
    lost, old = ("a/MatMul", "b/MatMul"), ("b/MatMul",)
    fused, _ = gates(NAMES, (F16.model_copy(update={"not_fused": old}), INT8.model_copy(update={"not_fused": lost})))
    assert (fused.status, fused.nodes) == ("failed", ("a/MatMul",))


@pytest.mark.parametrize(("written", "status"), [(499, "held"), (500, "failed"), (501, "failed")])
def test_as_many_bytes_fail_and_the_nodes_that_cost_more_are_named(written: int, status: str) -> None:
    _, fewer = gates(NAMES, (F16, INT8.model_copy(update={"written_bytes": written})), spent=SPENT)
    assert fewer.status == status
    assert fewer.nodes == (("new/Q: 4.00 MB more", "b: 2.00 MB more") if status == "failed" else ())


@pytest.mark.parametrize(
    ("proofs", "reason", "got"),
    [
        ((), "no such machine", "no such machine"),
        ((F16, INT8.model_copy(update={"built": False})), "", "int8.onnx was not built"),
    ],
)
def test_without_both_plans_they_are_not_run_and_say_why(proofs: tuple[GraphProof, ...], reason: str, got: str) -> None:
    assert [(gate.status, gate.got) for gate in gates(NAMES, proofs, reason)] == [("not run", got)] * 2


def test_a_graph_by_itself_has_none_and_every_quantized_graph_of_a_bundle_has_two() -> None:
    assert gates(("int8.onnx",), (INT8,)) == ()
    assert [gate.graph for gate in gates((*NAMES, "int8_mixed.onnx"), (), "why")] == ["int8.onnx"] * 2 + [
        "int8_mixed.onnx"
    ] * 2
