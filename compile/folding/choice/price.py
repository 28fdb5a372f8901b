"""What a graph costs a target as it stands, by the same rates as the search: products, elements written, operators."""

from math import prod

import onnx_ir as ir

from compile.folding.linear.network import Network
from compile.graphs.cost import COUNTED, macs_by_node, node_macs
from compile.graphs.nodes import is_constant, shape_of
from targets.folding import Rates

FREE = frozenset({"Constant", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


def graph_price(model: ir.Model, rates: Rates) -> float:
    """Return the cost of a graph whose shapes are known, in multiply-accumulates; an unknown shape counts as no elements."""
    macs = macs_by_node(model)
    return sum(node_price(node, macs.get(node), rates) for node in model.graph)


def node_price(node: ir.Node, macs: int | None, rates: Rates) -> float:
    """Return the cost of a node; a constant that is added to a product costs only what it takes to read it."""
    if node.op_type in FREE or all(is_constant(output) for output in node.outputs):
        return 0.0
    if macs is not None:
        return rates.operator + macs
    written = sum(prod(shape_of(output) or (0,)) for output in node.outputs)
    bias = [prod(shape_of(value) or ()) for value in node.inputs if is_constant(value)] if _is_bias(node) else []
    return rates.element * bias[0] if bias else rates.operator + rates.element * written


def fixed_price(network: Network, rates: Rates) -> float:
    """Return the cost of what stays whichever values are kept: the nodes that are not linear, and the moves before them."""
    nodes, waiting = dict.fromkeys(network.opaque), list(network.needed)
    while waiting:
        tensor = waiting.pop()
        view, node = network.views.get(tensor), tensor.producer()
        if view is not None and node is not None and network.values[view.value].tensor is not tensor:
            nodes[node] = None
            waiting += [one for one in node.inputs if one is not None]
    return sum(node_price(node, node_macs(node) if node.op_type in COUNTED else None, rates) for node in nodes)


def _is_bias(node: ir.Node) -> bool:
    """Say whether a node adds one number for each channel to a product without another reader. Runtimes add it in the product's kernel."""
    product = [value for value in node.inputs if value is not None and not is_constant(value)]
    if node.op_type != "Add" or len(product) != 1 or len(product[0].uses()) != 1:
        return False
    origin, shape = product[0].producer(), shape_of(product[0])
    constants = [shape_of(value) for value in node.inputs if is_constant(value)]
    return (
        origin is not None
        and origin.op_type in ("MatMul", "Gemm")
        and bool(shape)
        and all(one is not None and prod(one) == prod(one[-1:]) for one in constants)
    )
