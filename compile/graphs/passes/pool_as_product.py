"""A mean over all positions of a map as the product of a constant row with it.

    before   y = mean over the middle axes of x                                        x [B, …, C]
    after    y = Reshape([1/n … 1/n] · Reshape(x, [B, n, C]))                          n = the number of positions

What a dynamic gate reads. Some runtimes reduce over middle axes with a plain loop, and multiply matrices well. Exact but for
the order of summation.
"""

from math import prod

import numpy as np
import onnx_ir as ir

from compile.graphs.insert import Inserter, supersede
from compile.graphs.nodes import constant, nodes_of
from compile.graphs.passes.movement import shape_of

NAME = "pool_as_product"
LEAST = 49  # positions of a map, 7×7: a mean over fewer (of a few tasks' weights, say) costs nothing


def pool_as_product(model: ir.Model) -> tuple[ir.Model, int]:
    """Rewrite every mean of a map over all axes but the first and the last; returns how many."""
    count = 0
    for node in nodes_of(model, "ReduceMean"):
        source = node.inputs[0]
        whole, pooled = shape_of(source), shape_of(node.outputs[0])
        if source is None or source.dtype is None or whole is None or pooled is None:
            continue
        if not source.dtype.is_floating_point():
            continue  # a mean of integers rounds, and 1/n is none
        if _is_pooling(node, whole):
            _replace(model, node, (source, source.dtype), (whole, pooled))
            count += 1
    return model, count


def _is_pooling(node: ir.Node, whole: tuple[int, ...]) -> bool:
    rank = len(whole)
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return axes is not None and sorted(axes % rank) == list(range(1, rank - 1)) and prod(whole[1:-1]) >= LEAST


def _replace(
    model: ir.Model,
    node: ir.Node,
    source: tuple[ir.Value, ir.DataType],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    (value, dtype), (whole, pooled) = source, shapes
    batch, positions, channels = whole[0], prod(whole[1:-1]), whole[-1]
    new = Inserter(model, node, str(node.name), NAME)
    flat = new.reshape(value, (batch, positions, channels), "flat")
    row = new.constant(np.full((1, positions), 1.0 / positions, dtype.numpy()), "row")
    mean = new.node("MatMul", [row, flat], (batch, 1, channels), "mean")
    supersede(model, node.outputs[0], new.reshape(mean, pooled, "shaped"))
    model.graph.remove(node, safe=True)
