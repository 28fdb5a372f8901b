"""Relative position bias and shift mask as one constant, added to the logits once.

    before   y = Reshape(Reshape(l + b, [1, W, h, A, A]) + m, [W, h, A, A])     b [h, A, A], m [W, 1, A, A]
    after    y = l + (b + m)                                                    a constant [W, h, A, A]

One pass over the logits instead of two, and the shape that runtimes recognise as attention. It costs W·h·A²·4 bytes of
constants for each shifted block, and the cache they go through: measure. Exact but for the order of summation.
"""

import numpy as np
import onnx_ir as ir

from compile.graphs.insert import Inserter, supersede
from compile.graphs.nodes import constant, nodes_of
from compile.graphs.passes.movement import shape_of

NAME = "merge_attention_mask"


def merge_attention_mask(model: ir.Model) -> tuple[ir.Model, int]:
    """Merge every bias and mask that are added to the same logits; returns how many."""
    count = 0
    for node in nodes_of(model, "Add"):
        found = _chain(node)
        if found is not None:
            _replace(model, *found)
            count += 1
    return model, count


def _only_reader(value: ir.Value, operator: str) -> ir.Node | None:
    readers = [reader for reader, _ in value.uses()]
    alone = len(readers) == 1 and not value.is_graph_output() and readers[0].op_type == operator
    return readers[0] if alone else None


def _operand(node: ir.Node) -> tuple[ir.Value | None, np.ndarray | None]:
    """Return an Add's computed and its constant operand."""
    for place in (0, 1):
        array = constant(node.inputs[place])
        if array is not None:
            return node.inputs[1 - place], array
    return None, None


def _chain(node: ir.Node) -> tuple[ir.Node, ir.Value, ir.Value, np.ndarray] | None:
    """Return (last node, logits, the value to supersede, bias + mask) if ``node`` adds a bias that a mask follows."""
    logits, bias = _operand(node)
    widen = _only_reader(node.outputs[0], "Reshape")
    masked = None if widen is None else _only_reader(widen.outputs[0], "Add")
    back = None if masked is None else _only_reader(masked.outputs[0], "Reshape")
    if logits is None or bias is None or widen is None or masked is None or back is None:
        return None
    mask, shape = _operand(masked)[1], shape_of(logits)
    wide, end = shape_of(widen.outputs[0]), shape_of(back.outputs[0])
    if mask is None or shape is None or wide is None or end != shape or shape_of(masked.outputs[0]) != wide:
        return None
    if len(shape) != 4 or wide[0] != 1 or wide[1:] != shape:
        return None
    merged = (np.broadcast_to(bias, shape).astype(np.float64) + np.broadcast_to(mask, wide)[0]).astype(bias.dtype)
    return back, logits, back.outputs[0], merged


def _replace(model: ir.Model, back: ir.Node, logits: ir.Value, old: ir.Value, merged: np.ndarray) -> None:
    new = Inserter(model, back, str(back.name), NAME)
    made = new.node("Add", [logits, new.constant(merged, "bias_and_mask")], merged.shape, "add")
    supersede(model, old, made)
    masked = back.inputs[0].producer() if back.inputs[0] is not None else None
    widen = _operand(masked)[0].producer() if masked is not None else None  # type: ignore[union-attr]
    first = widen.inputs[0].producer() if widen is not None and widen.inputs[0] is not None else None
    model.graph.remove([node for node in (back, masked, widen, first) if node is not None], safe=True)
