"""Fold a graph: read it as a network of linear maps, choose what to keep by the target's cost, write the graph that follows."""

from collections.abc import Callable
from typing import NamedTuple

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compile.folding.choice.plan import Plan, make_plan
from compile.folding.choice.price import graph_price
from compile.folding.choice.search import Found, search
from compile.folding.emit import emit, float_type
from compile.folding.linear.network import Network
from compile.folding.reading.dead_channels import needed_channels
from compile.folding.reading.reader import read_network
from compile.folding.reading.regrid import regrid
from compile.folding.reading.settle import settle
from targets.folding import Rates


class Elimination(NamedTuple):
    """A folded model with its composed constants in float64, and how it came about: from ``origin``, as it was read."""

    model: ir.Model
    origin: ir.Model
    network: Network
    found: Found
    plan: Plan


def eliminate(model: ir.Model, rates: Rates, progress: Callable[[str], None] = lambda _: None) -> Elimination:
    """Fold a graph whose nodes are in order and whose shapes are known; the model given is left as it is."""
    model, network = settle(model)
    needed = needed_channels(network, model.graph.outputs)
    if needed:
        network = read_network(model.graph, needed)
    regrid(network)
    found = search(network, rates, progress)
    plan = make_plan(network, found.kept, rates)
    folded = emit(model, network, plan, rates)
    RemoveUnusedNodesPass()(folded)
    return Elimination(folded, model, network, found, plan)


def fold_graph(model: ir.Model, rates: Rates, progress: Callable[[str], None] = lambda _: None) -> ir.Model:
    """Return the folded model, its constants in the model's own type; the model itself where that costs the target no less."""
    folded = cast(eliminate(model, rates, progress).model)
    return folded if graph_price(folded, rates) < graph_price(model, rates) else model


def cast(model: ir.Model) -> ir.Model:
    """Store the float64 constants of a folded model in the type it computes in; this is done once, at the end."""
    kind = float_type(model.graph)
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.DOUBLE and kind != ir.DataType.DOUBLE:
            value.const_value = ir.tensor(tensor.numpy().astype(kind.numpy()), name=value.name)
            value.dtype = kind
    return model
