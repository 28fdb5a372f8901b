"""What no image changes is a constant before anything is folded: a gate without weights is softmax(z/τ), sigmoid(0)."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compile.folding.reading.settle import settle
from compile.graphs.nodes import constant
from tdss.adapters.config import TdssConfig
from tdss.adapters.tdss import DynamicGate, Tsai
from tdss.config import ModelConfig
from tests.compile.folding.applied import few, zero
from tests.compile.folding.models import configs, make_config, make_model
from tests.compile.folding.proven import fold_exactly, graph_of, names_of
from tests.compile.graphs.passes.made import shaped
from tests.tdss.oracle import Array, array, softmax

pytestmark = pytest.mark.slow

BASE = TdssConfig(
    experts=4, rank=2, gates=(("static", "dynamic"), ("dynamic",)), temperature=0.7, tsai="dynamic", activation="relu"
)
BANK, NORM, GAMMA = (
    "adapter.stages.0.blocks.1.banks.mlp",
    "backbone.stages.0.blocks.1.norm2",
    "adapter.stages.0.tsai.gate",
)
TASKS = ("semseg", "depth")


def distinct(graph: ir.Model) -> list[Array]:
    """The distinct numbers of every constant of a graph, in order."""
    constants = (constant(value) for value in settle(graph).model.graph.initializers.values())
    return [np.unique(one.astype(np.float64)) for one in constants if one is not None and one.dtype.kind == "f"]


def holds(found: list[Array], row: Array) -> bool:
    """Whether a constant is made of these numbers."""
    want = np.unique(row)
    return any(one.shape == want.shape and np.allclose(one, want, rtol=1e-5, atol=1e-8) for one in found)


def test_a_gate_without_weights_is_a_constant() -> None:
    model = make_model(make_config(BASE, tasks=TASKS))
    zero(model, f"{BANK}.gate.logits.weight")
    graph = graph_of(model)
    gate = softmax(array(model.get_parameter(f"{BANK}.gate.logits.bias")).reshape(len(TASKS), 4) / 0.7)
    assert all(holds(distinct(graph), row) for row in gate)
    assert f"{BANK}.gate" in names_of(graph, "Softmax") - names_of(fold_exactly(graph), "Softmax")


def test_what_pools_a_norm_without_gain_is_a_constant() -> None:
    """n = β everywhere, so the gate sees β only, and all that the bank adds is α B (g ⊙ relu(A β))."""
    model = make_model(make_config(BASE, tasks=TASKS))
    zero(model, f"{NORM}.weight")
    graph = graph_of(model)
    names = ("down.weight", "up.weight", "gate.logits.weight", "gate.logits.bias")
    down, up, weight, bias = (array(model.get_parameter(f"{BANK}.{name}")) for name in names)
    beta = array(model.get_parameter(f"{NORM}.bias"))
    gate = softmax((bias + weight @ beta).reshape(len(TASKS), 4) / 0.7)
    found = distinct(graph)
    assert all(holds(found, up @ (np.repeat(row, 2) * np.maximum(down @ beta, 0))) for row in gate)
    folded = fold_exactly(graph)
    assert not [node for node in folded.graph if BANK in str(node.outputs[0].name)]


def test_a_gamma_without_weights_is_one_half() -> None:
    model = make_model(make_config(BASE, tasks=TASKS))
    zero(model, f"{GAMMA}.weight")
    graph = graph_of(model)
    halves = [
        constant(value)
        for value in settle(graph).model.graph.initializers.values()
        if str(value.name).startswith("adapter.stages.0.tsai")
    ]
    assert any(one is not None and one.size and (one == 0.5).all() for one in halves)
    assert names_of(fold_exactly(graph), "Sigmoid") == {"adapter.stages.1.tsai.gate"}


@few(4)
@given(configs, st.sampled_from(["weights", "norm"]))
def test_any_model_answers_the_same(config: ModelConfig, spoil: str) -> None:
    model = make_model(config)
    for path, module in model.named_modules():
        if isinstance(module, DynamicGate) and spoil == "weights":
            zero(module, "logits.weight")
        elif path.endswith((".norm1", ".norm2")) and spoil == "norm":
            zero(module, "weight")
        elif isinstance(module, Tsai) and module.gate is not None:
            zero(module, "gate.weight")
    folded = fold_exactly(graph_of(model))
    assert not [name for name in names_of(folded, "Softmax") | names_of(folded, "Sigmoid") if ".gate" in name]


def test_gates_that_see_the_image_are_left_alone() -> None:
    model = make_model(make_config(BASE, tasks=TASKS))
    with torch.no_grad():
        model.get_parameter(f"{BANK}.gate.logits.weight").mul_(1e-30)  # however little
    zero(model, f"{BANK}.gate.logits.weight:0-7")  # one row of 8 still sees it
    graph = graph_of(model)
    assert settle(graph).model is graph and f"{BANK}.gate" in names_of(fold_exactly(graph), "Softmax")


def test_what_is_computed_from_constants_needs_no_simplifier() -> None:
    """A softmax of a parameter, as a static gate is written."""
    graph = shaped(
        """g (float[1,4,2] x) => (float[1,4,3] y) <float[2] z = {0.5, -1}, float[2,3] w = {1, 2, 3, 4, 5, 6}> {
            g = Softmax <axis = -1> (z)  u = Relu (x)  v = Mul (u, g)  y = MatMul (v, w) }"""
    )
    folded = fold_exactly(graph)
    assert sorted(node.op_type for node in folded.graph) == ["MatMul", "Relu"]
    [weight] = [value.const_value for value in folded.graph.initializers.values()]
    assert weight is not None
    want = softmax(np.array([0.5, -1.0]))[:, None] * np.array([[1.0, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(weight.numpy(), want, rtol=1e-6)
