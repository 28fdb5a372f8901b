"""Random networks are valid graphs that two implementations agree on, of every operator kind, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given

from tests.compile.folding.applied import few
from tests.compile.folding.engine_cases import outputs, stays_the_same
from tests.compile.folding.exact import checked, error, run_exactly, run_float32, widen
from tests.compile.folding.networks import MOST_STEPS, Network, networks, random_network

KINDS = {
    "Add",
    "AveragePool",
    "Concat",
    "Constant",
    "Conv",
    "Div",
    "Einsum",
    "Expand",
    "Gather",
    "Gelu",
    "Gemm",
    "Identity",
    "LayerNormalization",
    "MatMul",
    "Mul",
    "Neg",
    "Pad",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
}


@pytest.mark.slow
@given(networks)
@few(60)
def test_onnx_runtime_and_the_reference_agree(network: Network) -> None:
    want = run_exactly(widen(network.model), network.feeds)
    assert all(np.isfinite(array).all() for array in want.values())
    assert error(run_float32(network.model, network.feeds), want) < 1e-4


@given(networks)
@few(20)
def test_an_engine_that_does_nothing_is_exact(network: Network) -> None:
    stays_the_same(lambda model: model.clone(), network.model, network.feeds)


def test_every_kind_of_operator_is_there() -> None:
    made = [random_network(seed).model for seed in range(150)]
    found = [node.op_type for model in made for node in model.graph]
    assert set(found) == KINDS
    assert min(found.count(kind) for kind in KINDS) >= 4
    groups = {node.attributes["group"].as_int() for model in made for node in model.graph if node.op_type == "Conv"}
    assert len(groups) > 2
    read = [len(value.uses()) for model in made for node in model.graph for value in node.outputs]
    assert max(read) >= 4  # fan-out
    shared = [
        len(value.uses())
        for model in made
        for value in model.graph.initializers.values()
        if value.const_value is not None and value.const_value.size > 2 and len(value.const_value.shape) > 1
    ]
    assert sum(uses > 1 for uses in shared) > 20
    assert sum(len(outputs(model)) > 1 for model in made) > 50


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_makes_one_network_and_fewer_steps_its_start(seed: int) -> None:
    one, again = (random_network(seed, 12).model for _ in range(2))
    assert checked(one).SerializeToString(deterministic=True) == checked(again).SerializeToString(deterministic=True)
    start = {node.name: node.op_type for node in random_network(seed, 6).model.graph}
    longer = {node.name: node.op_type for node in random_network(seed, MOST_STEPS).model.graph}
    assert start.items() <= longer.items() and len(start) < len(longer)
