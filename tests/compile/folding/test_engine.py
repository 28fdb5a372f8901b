"""The engine folds exactly, whatever the network of linear maps, and never to what costs more."""

from functools import partial

import onnx_ir as ir
import pytest
from hypothesis import given

from compile.folding.cost import Rates
from compile.folding.engine import fold_graph
from compile.folding.price import graph_price
from compile.graph_cost import graph_cost
from tests.compile.folding.applied import few
from tests.compile.folding.engine_cases import (
    Engine,
    comes_down_to_its_golden,
    costs_no_more,
    operators,
    reads_the_norm_beside_the_mlp,
    stays_the_same,
)
from tests.compile.folding.foreign import Foreign, parts_of_a_tensor
from tests.compile.folding.networks import Network, networks

SMALL = Rates(operator=100.0, thin=2)  # the foreign graphs are a thousand times smaller than what a target runs
fold_small = partial(fold_graph, rates=SMALL)


@pytest.mark.parametrize("fold", [fold_graph, fold_small], ids=["operators dear", "operators cheap"])
@given(network=networks)
@few(60)
def test_random_networks_stay_the_same(fold: Engine, network: Network) -> None:
    stays_the_same(fold, network.model, network.feeds)


@pytest.mark.parametrize("rates", [Rates(), SMALL], ids=["operators dear", "operators cheap"])
@given(network=networks)
@few(25)
def test_no_network_costs_more(rates: Rates, network: Network) -> None:
    costs_no_more(partial(fold_graph, rates=rates), network.model, partial(graph_price, rates=rates))


def test_a_foreign_graph_comes_down_to_its_golden(merged: Foreign) -> None:
    comes_down_to_its_golden(fold_small, merged)


def test_peft_comes_down_to_what_the_library_merges(peft: Foreign) -> None:
    comes_down_to_its_golden(fold_small, peft)


def test_an_adapter_beside_an_mlp_keeps_what_it_reads(beside: Foreign) -> None:
    reads_the_norm_beside_the_mlp(fold_small, beside)


def test_a_product_reads_no_more_channels_than_it_needs() -> None:
    case = parts_of_a_tensor()
    folded = stays_the_same(fold_small, case.model, case.feeds)
    assert "Mul" not in operators(folded)
    assert graph_cost(folded).macs == graph_cost(case.golden).macs


def test_the_model_given_is_returned_where_nothing_pays() -> None:
    x = ir.Value(name="x", shape=ir.Shape([1, 4]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node("", "Relu", [x])
    node.outputs[0].name, node.outputs[0].shape, node.outputs[0].type = "y", ir.Shape([1, 4]), x.type
    model = ir.Model(ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 20}), ir_version=10)
    assert fold_graph(model) is model
