"""What a graph costs a target as it stands, by the same rates as the search: products, elements written, operators."""

from math import prod

import onnx_ir as ir

from compile.graph_cost import macs_by_node
from compile.passes.base import is_constant, shape_of
from targets.folding import Rates

FREE = frozenset({"Constant", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


def graph_price(model: ir.Model, rates: Rates) -> float:
    """Return the cost of a graph whose shapes are known, in multiply-accumulates; an unknown shape counts as no elements."""
    macs = macs_by_node(model)
    total = float(sum(macs.values()))
    for node in model.graph:
        if node.op_type in FREE or all(is_constant(output) for output in node.outputs):
            continue
        total += rates.operator
        if node not in macs:
            total += rates.element * sum(prod(shape_of(output) or (0,)) for output in node.outputs)
    return total
