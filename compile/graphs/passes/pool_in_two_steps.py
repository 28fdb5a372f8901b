"""A mean over 2×2 neighbours as two means over one contiguous axis each.

    before   y = mean over (2, 4) of Reshape(x, [B, H/a, a, W/b, b, C])           x [B, H, W, C]
    after    y = mean over 1 of Reshape(mean over 1 of Reshape(x, [B·H/a, a, W·C]), [B·H/a·W/b, b, C])

A mean of equally large groups is the mean of their means. Each step reads rows that lie side by side in memory; runtimes
have no fast kernel for two axes that do not touch. Exact but for the order of summation.
"""

from math import prod

import numpy as np
import onnx_ir as ir

from compile.graphs.insert import Inserter, supersede
from compile.graphs.nodes import constant, nodes_of
from compile.graphs.passes.movement import shape_of

NAME = "pool_in_two_steps"


def pool_in_two_steps(model: ir.Model) -> tuple[ir.Model, int]:
    """Rewrite every such mean; returns how many."""
    count = 0
    for node in nodes_of(model, "ReduceMean"):
        source, split = _pooled(node)
        if source is not None:
            _replace(model, node, source, split)
            count += 1
    return model, count


def _pooled(node: ir.Node) -> tuple[ir.Value | None, tuple[int, ...]]:
    """Return what a mean pools and the six axes it is cut into; None where the node is another mean."""
    cut = node.inputs[0].producer() if node.inputs[0] is not None else None
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    kept = node.attributes.get("keepdims")
    if cut is None or cut.op_type != "Reshape" or axes is None or kept is None or kept.as_int() != 0:
        return None, ()
    whole, split = shape_of(cut.inputs[0]), shape_of(cut.outputs[0])
    if whole is None or split is None or len(whole) != 4 or len(split) != 6 or sorted(axes % 6) != [2, 4]:
        return None, ()
    batch, tall, a, wide, b, channels = split
    return (cut.inputs[0] if whole == (batch, tall * a, wide * b, channels) else None), split


def _replace(model: ir.Model, node: ir.Node, source: ir.Value, split: tuple[int, ...]) -> None:
    batch, tall, a, wide, b, channels = split
    new = Inserter(model, node, str(node.name), NAME)
    axis = new.constant(np.array([1], np.int64), "axis")
    value = source
    for name, shape in (("tall", (batch * tall, a, wide * b * channels)), ("wide", (batch * tall * wide, b, channels))):
        cut = new.reshape(value, shape, f"{name}_cut")
        value = new.node("ReduceMean", [cut, axis], (shape[0], prod(shape[2:])), name, keepdims=0)
    supersede(model, node.outputs[0], new.reshape(value, (batch, tall, wide, channels), "shaped"))
    cut_node = node.inputs[0].producer() if node.inputs[0] is not None else None
    model.graph.remove(node, safe=True)
    if cut_node is not None and not cut_node.outputs[0].uses() and not cut_node.outputs[0].is_graph_output():
        model.graph.remove(cut_node, safe=True)
