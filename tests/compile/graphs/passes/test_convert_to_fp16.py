"""FP16 typing: what becomes half, what stays float32 and why, and how scales are typed."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx_ir.passes.common import CheckerPass, ShapeInferencePass

from compile.graphs.passes.convert_to_fp16 import convert_to_fp16, float32_nodes
from targets.jetson.rtx import build_graph, unavailable
from tests.compile.graphs.passes.made import graph, operators, run

WEIGHTS = np.random.default_rng(3).normal(size=(2, 16)).round(3)
X = np.random.default_rng(4).normal(size=(1, 4)).astype(np.float32)


def numbers(array: np.ndarray) -> str:
    """An array as ONNX text."""
    return "{" + ", ".join(map(str, array)) + "}"


TEXT = f"""
g (float[1,4] x) => (float[1,4] y)
<float[4,4] a = {numbers(WEIGHTS[0])}, float[4,4] b = {numbers(WEIGHTS[1])},
 float[4] w = {{1, 1, 1, 1}}, float[4] c = {{0.1, 0.2, 0.3, 0.4}}>
{{
    [first] h = MatMul (x, a)
    [norm] n = LayerNormalization (h, w, c)
    [tanh] t = Tanh (n)
    [second] o = MatMul (t, b)
    [last] y = Add (o, c)
}}
"""


def quantized(weight_scale: float = 0.02) -> str:
    """Two INT8 products behind a LayerNorm, each operand with its DQ."""
    weight = numbers(np.arange(-8, 8))
    return f"""
g (float[1,4] x) => (float[1,4] y)
<float s = {{0.015}}, float t = {{0.03}}, float[4] v = {numbers(np.full(4, weight_scale))}, int8 z = {{0}},
 int8[4] zs = {{0, 0, 0, 0}}, int8[4,4] a = {weight}, int8[4,4] b = {weight}, float[4] w = {{1, 1, 1, 1}}>
{{
    [norm] n = LayerNormalization (x, w, w)
    [q1] qn = QuantizeLinear (n, s, z)
    [dq1] dn = DequantizeLinear (qn, s, z)
    [dqa] da = DequantizeLinear <axis: int = 1> (a, v, zs)
    [first] h = MatMul (dn, da)
    [q2] qh = QuantizeLinear (h, t, z)
    [dq2] dh = DequantizeLinear (qh, t, z)
    [dqb] db = DequantizeLinear <axis: int = 1> (b, s, z)
    [second] y = MatMul (dh, db)
}}
"""


def typed(text: str) -> ir.Model:
    """Parse a graph and infer its types."""
    return ShapeInferencePass()(graph(text)).model


def types(model: ir.Model) -> dict[str, str]:
    """Each named node's output type."""
    return {str(node.name): node.outputs[0].dtype.name for node in model.graph if node.op_type != "Cast"}


def half_by_torch() -> np.ndarray:
    """The MLP in torch half, LayerNorm and the last addition in float32."""
    a, b = (torch.tensor(weights.reshape(4, 4), dtype=torch.float16) for weights in WEIGHTS)
    c = torch.tensor([0.1, 0.2, 0.3, 0.4])
    hidden = torch.tensor(X).half() @ a
    normed = torch.nn.functional.layer_norm(hidden.float(), (4,), torch.ones(4), c).half()
    return ((torch.tanh(normed) @ b).float() + c).numpy()


def test_weights_and_activations_are_half_and_layer_norm_and_the_interface_float() -> None:
    model, modified = convert_to_fp16(typed(TEXT))
    CheckerPass(full_check=True)(model)
    assert modified
    assert types(model) == {
        "first": "FLOAT16",
        "norm": "FLOAT",
        "tanh": "FLOAT16",
        "second": "FLOAT16",
        "last": "FLOAT",
    }
    assert [value.dtype for value in (*model.graph.inputs, *model.graph.outputs)] == [ir.DataType.FLOAT] * 2
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_it_agrees_with_torch_half() -> None:
    [typed_half] = run(convert_to_fp16(typed(TEXT))[0], x=X)
    assert np.abs(typed_half - half_by_torch()).max() < 4e-3  # the order of the sum's own roundings
    assert np.abs(typed_half - run(graph(TEXT), x=X)[0]).max() > 0


def test_it_is_idempotent() -> None:
    model, _ = convert_to_fp16(typed(TEXT))
    count = operators(model)
    assert convert_to_fp16(model)[1] is False
    assert operators(model) == count


def test_what_is_to_be_kept_stays_float32_with_its_reason() -> None:
    kept = float32_nodes(typed(TEXT).graph, {"tanh": "x reaches 9e4"})
    assert {str(node.name): reason for node, reason in kept.items()}["tanh"] == "x reaches 9e4"
    assert types(convert_to_fp16(typed(TEXT), {"tanh": "x reaches 9e4"})[0])["tanh"] == "FLOAT"


@pytest.mark.parametrize("value", ["70000", "1e-38"])
def test_a_constant_outside_half_keeps_its_operator_float32(value: str) -> None:
    text = TEXT.replace(numbers(WEIGHTS[1]), numbers(np.full(16, value, dtype=object)))
    model = typed(text)
    [reason] = [why for node, why in float32_nodes(model.graph, {}).items() if node.name == "second"]
    assert "constant b reaches" in reason
    model, _ = convert_to_fp16(model)
    CheckerPass(full_check=True)(model)
    assert types(model)["second"] == "FLOAT" and types(model)["first"] == "FLOAT16"


def test_scales_have_the_type_of_their_data_and_both_operands_one_type() -> None:
    model, _ = convert_to_fp16(typed(quantized()))
    CheckerPass(full_check=True)(model)
    assert {types(model)[name] for name in ("dq1", "dqa", "dq2", "dqb", "first", "second")} == {"FLOAT16"}
    scales = {
        str(node.name): node.inputs[1].dtype.name
        for node in model.graph
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    }
    assert set(scales.values()) == {"FLOAT16"}, scales


def test_a_scale_that_half_spoils_keeps_all_that_shares_it_in_float32() -> None:
    model = typed(quantized(weight_scale=3e-7))
    kept = {str(node.name): reason for node, reason in float32_nodes(model.graph, {}).items()}
    assert "too small for FP16" in kept["first"]
    assert {"q1", "dq1", "dqa", "first"} <= set(kept) and not {"q2", "dq2", "dqb", "second"} & set(kept)
    model, _ = convert_to_fp16(model)
    CheckerPass(full_check=True)(model)
    assert {types(model)[name] for name in ("dq1", "dqa", "first")} == {"FLOAT"}
    assert {types(model)[name] for name in ("dq2", "dqb", "second")} == {"FLOAT16"}


def test_nodes_without_names_are_typed_as_with_them() -> None:
    """A Constant says its own type, and what stands before and behind the products is known by its place."""
    text = TEXT.replace(
        "[last] y = Add (o, c)", "k = Constant <value_float: float = 2.0> ()\n p = Mul (o, k)\n [last] y = Add (p, c)"
    )
    text = text.replace(
        "[tanh] t = Tanh (n)", "e = Constant <value_float: float = 3.0> ()\n m = Mul (n, e)\n [tanh] t = Tanh (m)"
    )
    found = []
    for name in ("node{}", ""):
        model = typed(text)
        for index, node in enumerate(model.graph):
            node.name = name.format(index)
        model, _ = convert_to_fp16(model)
        CheckerPass(full_check=True)(model)
        found.append([(node.op_type, node.outputs[0].dtype) for node in model.graph])
    assert found[0] == found[1]
    np.testing.assert_allclose(run(model, x=X)[0], run(graph(text), x=X)[0], atol=0.05)


def test_what_is_made_clashes_with_no_name_of_the_graph() -> None:
    names = ("h/to_float", "x/to_float16", "a/f16", "y/half")
    text = TEXT.replace("(n)", "(n4)").replace(
        "[tanh]", "n1 = Relu (n)\n n2 = Abs (n1)\n n3 = Relu (n2)\n n4 = Neg (n3)\n [tanh]"
    )
    model = typed(text)
    for node in model.graph:
        if str(node.outputs[0].name)[0] == "n" and node.op_type != "LayerNormalization":
            node.outputs[0].name = names[int(str(node.outputs[0].name)[1]) - 1]
    model, _ = convert_to_fp16(model)
    made = [value.name for node in model.graph for value in node.outputs] + list(model.graph.initializers)
    assert len(set(made)) == len(made) and set(names) < set(made)
    CheckerPass(full_check=True)(model)


@pytest.mark.parametrize("mover", ["Transpose <perm = [1, 0]>", "Identity"])
def test_a_scale_that_half_spoils_is_seen_behind_operators_that_move_elements(mover: str) -> None:
    text = quantized(weight_scale=3e-7).replace(
        "[first] h = MatMul (dn, da)", f"[move] dm = {mover} (da)\n [first] h = MatMul (dn, dm)"
    )
    model = typed(text)
    kept = {str(node.name): reason for node, reason in float32_nodes(model.graph, {}).items()}
    assert "too small for FP16" in kept["first"]
    assert {"q1", "dq1", "dqa", "move", "first"} <= set(kept) and not {"q2", "dq2", "dqb", "second"} & set(kept)
    model, _ = convert_to_fp16(model)
    CheckerPass(full_check=True)(model)
    operands = [str(value.name) for node in model.graph if node.name == "first" for value in node.inputs]
    assert operands == ["dn", "dm"]  # no cast between a DQ and its product


def test_a_mover_is_of_the_type_of_the_product_behind_it() -> None:
    text = quantized().replace("[first] h = MatMul (dn, da)", "[move] dm = Identity (da)\n [first] h = MatMul (dn, dm)")
    assert set(types(convert_to_fp16(typed(text))[0]).values()) == {"FLOAT", "INT8", "FLOAT16"}
    kept = {str(node.name) for node in float32_nodes(typed(text).graph, {"first": "h reaches 9e4"})}
    assert {"dn", "first"} - kept == {"dn"} and {"dq1", "dqa", "move"} <= kept


KERNEL = numbers(np.random.default_rng(5).normal(size=4 * 4 * 9).round(2))
SCALED = f"""
g (float[1,4,8,8] x) => (float[1,4,8,8] y) <float[4,4,3,3] k = {KERNEL}, float f = {{0.125}}> {{
    [first] a = Conv <pads = [1, 1, 1, 1]> (x, k)
    [wide] b = Conv <pads = [1, 1, 1, 1]> (a, k)
    [scaled] c = MUL
    [middle] d = Relu (c)
    [last] y = Conv <pads = [1, 1, 1, 1]> (d, k)
}}
"""


@pytest.mark.parametrize("factor", ["Mul (b, f)", "Mul (f, b)", "Div (b, f)"])
def test_a_float32_convolution_times_one_number_is_one_that_the_builder_takes(factor: str, tmp_path: Path) -> None:
    text = SCALED.replace("MUL", factor)
    model, _ = convert_to_fp16(typed(text), {"wide": "a test", "scaled": "a test"})
    [node] = [node for node in model.graph if node.name == "scaled"]
    assert (4, 1, 1) in [tuple(value.shape or ()) for value in node.inputs if value is not None]
    image = np.random.default_rng(6).normal(size=(1, 4, 8, 8)).astype(np.float32)
    [got], [expected] = run(model, x=image), run(graph(text), x=image)
    assert np.abs(got - expected).max() <= 2e-3 * np.abs(expected).max()
    if not unavailable():
        ir.save(model, tmp_path / "model.onnx")
        assert build_graph(tmp_path / "model.onnx").built


@pytest.mark.parametrize("operator", ["ReduceL2 <keepdims = 1>", "LpNormalization", "LogSoftmax", "ReduceSumSquare"])
def test_what_sums_powers_inside_stays_float32(operator: str) -> None:
    text = TEXT.replace("LayerNormalization (h, w, c)", f"{operator} (h)")
    assert "norm" in {node.name for node in float32_nodes(typed(text).graph, {})}
