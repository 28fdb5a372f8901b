"""The engine folds exactly, whatever the network of linear maps, and never to what costs more."""

from functools import partial

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, strategies

from compile.folding.choice.plan import make_plan
from compile.folding.choice.price import graph_price
from compile.folding.choice.search import Search
from compile.folding.emit import emit
from compile.folding.engine import cast, fold_graph
from compile.folding.reading.reader import read_network
from compile.graphs.cost import graph_cost
from targets.folding import Rates
from tests.compile.folding.applied import few
from tests.compile.folding.engine_cases import (
    RATES,
    Engine,
    comes_down_to_its_golden,
    costs_no_more,
    operators,
    reads_the_norm_beside_the_mlp,
    stays_the_same,
)
from tests.compile.folding.foreign import Foreign, parts_of_a_tensor
from tests.compile.folding.networks import Network, networks

SMALL = Rates(
    element=10.0, operator=100.0, thin=2
)  # the foreign graphs are a thousand times smaller than what a target runs
fold, fold_small = partial(fold_graph, rates=RATES), partial(fold_graph, rates=SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("folding", [fold, fold_small], ids=["operators dear", "operators cheap"])
@given(network=networks)
@few(60)
def test_random_networks_stay_the_same(folding: Engine, network: Network) -> None:
    stays_the_same(folding, network.model, network.feeds)


@pytest.mark.slow
@given(networks, strategies.integers(0, 2**32 - 1), strategies.sampled_from([0.0, 0.3, 0.7]))
@few(60)
def test_any_choice_of_values_is_exact(network: Network, seed: int, share: float) -> None:
    """The search may choose among all of them, so each is right, whatever it costs."""

    def fold(model: ir.Model) -> ir.Model:
        model = ir.from_proto(ir.to_proto(model))
        values = read_network(model.graph)
        state, rng = Search(values, SMALL), np.random.default_rng(seed)
        state.start([uid for uid in state.free if rng.random() < share])
        return cast(emit(model, values, make_plan(values, state.kept, SMALL), SMALL))

    stays_the_same(fold, network.model, network.feeds)


@pytest.mark.slow
@pytest.mark.parametrize("rates", [RATES, SMALL], ids=["operators dear", "operators cheap"])
@given(network=networks)
@few(25)
def test_no_network_costs_more(rates: Rates, network: Network) -> None:
    costs_no_more(partial(fold_graph, rates=rates), network.model, partial(graph_price, rates=rates))


@pytest.mark.slow
def test_a_foreign_graph_comes_down_to_its_golden(merged: Foreign) -> None:
    comes_down_to_its_golden(fold_small, merged)


@pytest.mark.slow
def test_peft_comes_down_to_what_the_library_merges(peft: Foreign) -> None:
    comes_down_to_its_golden(fold_small, peft)


@pytest.mark.slow
def test_an_adapter_beside_an_mlp_keeps_what_it_reads(beside: Foreign) -> None:
    reads_the_norm_beside_the_mlp(fold_small, beside)


@pytest.mark.slow
def test_a_product_reads_no_more_channels_than_it_needs() -> None:
    case = parts_of_a_tensor()
    folded = stays_the_same(fold_small, case.model, case.feeds)
    assert "Mul" not in operators(folded)
    assert graph_cost(folded).macs == graph_cost(case.golden).macs


ATTENTION = """<ir_version: 10, opset_import: ["" : 20]>
agraph (float[1, 8, 4] x) => (float[1, 8, 8] y)
    <float[4, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 5, 7, 1, 2}, float[1] c = {0.5}> {
    q = MatMul(x, w)
    k = Transpose <perm = [0, 2, 1]> (x)
    s = MatMul(q, k)
    t = %s
    y = Softmax(t)
}"""


@pytest.mark.parametrize("scaled", ["Mul(s, c)", "Mul(c, s)", "Div(s, c)"])
def test_a_scale_after_an_attention_product_folds_into_what_makes_its_input(scaled: str) -> None:
    model = ir.passes.common.ShapeInferencePass()(ir.from_onnx_text(ATTENTION % scaled)).model
    x = np.random.default_rng(0).normal(size=(1, 8, 4)).astype(np.float32) / 8
    folded = stays_the_same(fold_small, model, {"x": x})
    assert operators(folded) == ["MatMul", "MatMul", "Softmax", "Transpose"]


PARTS = """<ir_version: 10, opset_import: ["" : 20]>
agraph (float[1, 8, 6] x) => (float[1, 8, 2] a, float[1, 8, 4] b)
    <int64[1] zero = {0}, int64[1] two = {2}, int64[1] six = {6}, int64[1] axis = {2}> {
    r = Relu(x)
    s = Slice(r, zero, two, axis)
    t = Slice(r, two, six, axis)
    a = Sigmoid(s)
    b = Tanh(t)
}"""


def test_slices_that_are_all_parts_of_a_tensor_are_one_split() -> None:
    model = ir.passes.common.ShapeInferencePass()(ir.from_onnx_text(PARTS)).model
    x = np.random.default_rng(0).normal(size=(1, 8, 6)).astype(np.float32)
    assert operators(stays_the_same(fold_small, model, {"x": x})) == ["Relu", "Sigmoid", "Split", "Tanh"]


def test_a_bias_of_a_gemm_whose_rows_are_channels_too() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
    agraph (float[1, 6] x) => (float[2, 4] y)
        <int64[2] s = {2, 3}, float[3, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}, float[4] c = {1, 2, 3, 4}> {
        r = Reshape(x, s)
        y = Gemm(r, w, c)
    }"""
    model = ir.passes.common.ShapeInferencePass()(ir.from_onnx_text(text)).model
    stays_the_same(fold_small, model, {"x": np.arange(6, dtype=np.float32).reshape(1, 6)})


def test_the_model_given_is_returned_where_nothing_pays() -> None:
    x = ir.Value(name="x", shape=ir.Shape([1, 4]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node("", "Relu", [x])
    node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = "y", ir.Shape([1, 4]), x.type
    model = ir.Model(ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 20}), ir_version=10)
    assert fold(model) is model
