"""FP16 typing, and the float32 graph that emulates its roundings."""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from bundle.errors import GraphError
from compile.passes.make_half import emulate_half, make_half
from tests.compile.passes.made import graph, operators, run

MLP = """
g (float[1,4] x) => (float[1,4] y)
<float[4,4] a = {A}, float[4,4] b = {B}, float[4] w = {1, 1, 1, 1}, float[4] c = {0.1, 0.2, 0.3, 0.4}>
{
    h = MatMul (x, a)
    n = LayerNormalization (h, w, c)
    t = Tanh (n)
    o = MatMul (t, b)
    y = Add (o, c)
}
"""
GENERATOR = np.random.default_rng(3)
WEIGHTS = GENERATOR.normal(size=(2, 16)).round(3)
TEXT = MLP.replace("{A}", "{" + ", ".join(map(str, WEIGHTS[0])) + "}").replace(
    "{B}", "{" + ", ".join(map(str, WEIGHTS[1])) + "}"
)
X = GENERATOR.normal(size=(1, 4)).astype(np.float32)


def typed(text: str) -> ir.Model:
    """Parse a graph and infer its types."""
    return ir.passes.common.ShapeInferencePass()(graph(text)).model


def half_by_torch() -> np.ndarray:
    """The MLP in torch half, LayerNorm and the last addition in float32."""
    a, b = (torch.tensor(weights.reshape(4, 4), dtype=torch.float16) for weights in WEIGHTS)
    c = torch.tensor([0.1, 0.2, 0.3, 0.4])
    hidden = torch.tensor(X).half() @ a
    normed = torch.nn.functional.layer_norm(hidden.float(), (4,), torch.ones(4), c).half()
    return ((torch.tanh(normed) @ b).float() + c).numpy()


def test_weights_and_activations_are_half_and_layer_norm_and_the_interface_float() -> None:
    model, modified = make_half(typed(TEXT))
    kinds = {node.op_type: node.outputs[0].dtype for node in model.graph if node.op_type != "Cast"}
    assert modified
    assert kinds["MatMul"] == kinds["Tanh"] == ir.DataType.FLOAT16
    assert kinds["LayerNormalization"] == ir.DataType.FLOAT
    assert [value.dtype for value in (*model.graph.inputs, *model.graph.outputs)] == [ir.DataType.FLOAT] * 2
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_both_graphs_agree_with_torch_half() -> None:
    [emulated] = run(emulate_half(typed(TEXT))[0], x=X)
    [typed_half] = run(make_half(typed(TEXT))[0], x=X)
    assert np.abs(emulated - half_by_torch()).max() < 4e-3
    assert np.abs(typed_half - half_by_torch()).max() < 4e-3
    assert np.abs(emulated - run(graph(TEXT), x=X)[0]).max() > 0


def test_the_emulation_overflows_where_half_does() -> None:
    text = "g (float[1,2] x) => (float[1,2] y)\n<float[2,2] a = {300, 0, 0, 300}>\n{\n h = MatMul (x, a)\n k = Mul (h, h)\n y = MatMul (k, a)\n}\n"
    [y] = run(emulate_half(typed(text))[0], x=np.ones((1, 2), np.float32))
    assert not np.isfinite(y).any()
    [exact] = run(graph(text), x=np.ones((1, 2), np.float32))
    assert np.isfinite(exact).all()


def test_the_emulation_stays_float32_with_a_pair_of_casts_after_each_half_value() -> None:
    model, modified = emulate_half(typed(TEXT))
    narrow = [node for node in model.graph if node.op_type == "Cast" and node.outputs[0].dtype == ir.DataType.FLOAT16]
    assert modified
    assert operators(model)["Cast"] == 2 * len(narrow) and narrow
    assert all(node.outputs[0].dtype == ir.DataType.FLOAT for node in model.graph if node.op_type != "Cast")


def test_it_is_idempotent() -> None:
    model, _ = make_half(typed(TEXT))
    count = operators(model)
    assert make_half(model)[1] is False
    assert operators(model) == count


def test_a_weight_beyond_half_is_refused_by_name() -> None:
    with pytest.raises(GraphError, match="does not fit into FP16") as caught:
        make_half(typed(TEXT.replace(f"{{{WEIGHTS[0][0]}", "{70000")))
    assert caught.value.got == "a"
