"""Relative position bias and shift mask as one constant, added to the logits once.

    before   y = Reshape(Reshape(l + b, [1, W, h, A, A]) + m, [W, h, A, A])     b [h, A, A], m [W, 1, A, A]
    after    y = l + (b + m)                                                    a constant [W, h, A, A]

One pass over the logits instead of two, and the shape that runtimes recognise as attention. It costs W·h·A²·4 bytes of
constants for each shifted block, and the cache they go through: measure. Exact but for the order of summation.
"""

from typing import Any

import numpy as np
import onnx_ir as ir

from compile.graphs.nodes import constant, free_name, shape_of

NAME = "merge_attention_mask"


def merge_attention_mask(model: ir.Model) -> tuple[ir.Model, int]:
    """Merge every bias and mask that are added to the same logits; returns how many."""
    from onnxscript.rewriter.pattern import RewriteRule

    count: int = RewriteRule(_pattern, _merged, _match, name=NAME).apply_to_model(model, commute=True)
    return model, count


def _pattern(op: Any, logits: Any, bias: Any, mask: Any, wide: Any, shape: Any) -> Any:
    widened = op.Reshape(op.Add(logits, bias), wide, _outputs=["widened"])
    return op.Reshape(op.Add(widened, mask, _outputs=["masked"]), shape, _outputs=["back"])


def _match(context: object, logits: ir.Value, bias: ir.Value, mask: ir.Value, **shaped: ir.Value) -> bool:
    shape, wide = shape_of(logits), shape_of(shaped["widened"])
    if shape is None or len(shape) != 4 or wide != (1, *shape) or constant(bias) is None or constant(mask) is None:
        return False
    return shape_of(shaped["masked"]) == wide and shape_of(shaped["back"]) == shape


def _merged(op: Any, logits: ir.Value, bias: ir.Value, mask: ir.Value, back: Any, **_: ir.Value) -> ir.Value:
    shape, added, hidden = shape_of(logits) or (), constant(bias), constant(mask)
    assert added is not None and hidden is not None
    merged = np.broadcast_to(added, shape).astype(np.float64) + np.broadcast_to(hidden, (1, *shape))[0]
    name = f"{back.producer().name}/{NAME}"
    tensor = ir.tensor(merged.astype(added.dtype), name=free_name(back.graph, f"{name}/bias_and_mask"))
    made: ir.Value = op.Add(logits, op.initializer(tensor))
    node = made.producer()
    assert node is not None
    node.name = free_name(back.graph, f"{name}/add")
    return made
