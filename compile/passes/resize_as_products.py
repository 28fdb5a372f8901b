"""The resize that ends a decoder as two products with constant matrices.

A bilinear resize is separable: with A [H', H] and B [W', W] the interpolation weights of the rows and of the columns,

    before   y = Resize(x, [H', W'])              x [N, C, H, W]
    after    y = A (x Bᵀ)                         W first: the second product writes y

Row i of A holds 1 − f at ⌊c⌋ and f at ⌊c⌋ + 1, c = (i + ½) H/H' − ½ clamped to the map, f its fraction (half-pixel centres,
the convention of PyTorch's ``align_corners=False``). It has more MACs than the four per pixel it replaces, and
every one of them in the kernel that a runtime does best, with no change of layout for the largest tensors there are.
Fires only where y is an output of the graph and is larger than x. Exact but for the order of summation.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compile.passes.base import nodes_of
from compile.passes.insert import Inserter, supersede
from compile.passes.movement import shape_of

MARK = "resize_as_products"


def resize_as_products(model: ir.Model) -> tuple[ir.Model, int]:
    """Rewrite every final bilinear enlargement; returns how many."""
    count = 0
    for node in nodes_of(model, "Resize"):
        if _fits(node):
            _replace(model, node)
            count += 1
    return model, count


def interpolation(size: int, to: int) -> NDArray[np.float64]:
    """Return the weights of a bilinear resize along one axis, ``[to, size]``: each row has at most two, and sums to 1."""
    centre = np.clip((np.arange(to) + 0.5) * size / to - 0.5, 0, size - 1)
    low = np.floor(centre).astype(np.int64)
    weights = np.zeros((to, size))
    weights[np.arange(to), low] = 1 - (centre - low)
    weights[np.arange(to), np.minimum(low + 1, size - 1)] += centre - low
    return weights


def _fits(node: ir.Node) -> bool:
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    if before is None or after is None or len(before) != 4 or before[:2] != after[:2]:
        return False
    text = {name: attribute.as_string() for name, attribute in node.attributes.items()
            if attribute.type == ir.AttributeType.STRING}  # fmt: skip
    plain = text.get("mode") == "linear" and text.get("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    stretched = text.get("keep_aspect_ratio_policy", "stretch") == "stretch" and "axes" not in node.attributes
    larger = all(big >= small for big, small in zip(after[2:], before[2:], strict=True))
    return plain and stretched and larger and node.outputs[0].is_graph_output() and _exact_scale(node)


def _exact_scale(node: ir.Node) -> bool:
    """Say whether the size is given as such: a scale need not be the ratio of the sizes."""
    return len(node.inputs) == 4 and node.inputs[3] is not None


def _replace(model: ir.Model, node: ir.Node) -> None:
    before, after = shape_of(node.inputs[0]) or (), shape_of(node.outputs[0]) or ()
    new, dtype = Inserter(model, node, f"{node.name}/{MARK}"), np.float32
    rows = new.constant(interpolation(before[2], after[2]).astype(dtype), "rows")
    columns = new.constant(np.ascontiguousarray(interpolation(before[3], after[3]).T.astype(dtype)), "columns")
    wide = new.node("MatMul", [node.inputs[0], columns], (*before[:3], after[3]), "wide")
    tall = ir.node("MatMul", [rows, wide], outputs=[ir.Value(name=f"{new.prefix}/tall", type=wide.type, shape=ir.Shape(after))],
                   name=f"{new.prefix}/tall")  # fmt: skip
    model.graph.insert_before(node, tall)
    supersede(model, node.outputs[0], tall.outputs[0])
    model.graph.remove(node, safe=True)
