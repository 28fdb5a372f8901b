"""The resize that ends a decoder as two products with constant matrices.

A bilinear resize is separable: with A [H', H] and B [W', W] the interpolation weights of the rows and of the columns,

    before   y = Resize(x, [H', W'])              x [N, C, H, W]
    after    y = A (x Bᵀ)                         W first: the second product writes y

A is a band: rows next to each other read the same few columns. So there is one second product per group of ``BAND`` or a
few more rows of y. It takes the rows of x Bᵀ that they read:

             y_g = A_g (x Bᵀ)[columns of g]       A_g [BAND, width], 6 columns where a map of 28 becomes one of 224

Row i of A holds 1 − f at ⌊c⌋ and f at ⌊c⌋ + 1, where c = (i + ½) H/H' − ½ is clamped to the map. Here f
is the fraction of c. These are half-pixel centres, the convention of PyTorch's ``align_corners=False``. The products
have more MACs than the four per pixel they replace. All their MACs are in the kernel that a runtime does best, with no
change of layout for the largest tensors there are.
Fires only where y is an output of the graph and is larger than x. Exact but for the order of summation.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compile.graphs.insert import Inserter, supersede
from compile.graphs.interpolation import resize_weights
from compile.graphs.nodes import nodes_of
from compile.graphs.passes.movement import shape_of

NAME = "resize_as_products"
BAND = 32  # rows of y in a group, at least: measured, 16 and 64 are slower


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
    return np.asarray(resize_weights(size, to, "linear", "half_pixel", "floor").toarray())


def coordinates(resize: ir.Node) -> str | None:
    """Return how a bilinear Resize of height and width places its points; None for any other Resize.

    One that is given scales is another: a scale need not be the ratio of the sizes.
    """
    before, after = shape_of(resize.inputs[0]), shape_of(resize.outputs[0])
    text = {
        name: attribute.as_string()
        for name, attribute in resize.attributes.items()
        if attribute.type == ir.AttributeType.STRING
    }
    flat = before is not None and after is not None and len(before) == 4 and before[:2] == after[:2]
    stretched = text.get("keep_aspect_ratio_policy", "stretch") == "stretch" and "axes" not in resize.attributes
    sized = len(resize.inputs) == 4 and resize.inputs[3] is not None
    plain = flat and stretched and sized and text.get("mode") == "linear"
    return text.get("coordinate_transformation_mode", "half_pixel") if plain else None


def _fits(node: ir.Node) -> bool:
    if coordinates(node) != "half_pixel" or not node.outputs[0].is_graph_output():
        return False
    sides = zip(shape_of(node.outputs[0]) or (), shape_of(node.inputs[0]) or (), strict=True)
    return all(after >= before for after, before in sides)


def bands(size: int, to: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cut ``interpolation(size, to)`` into equal groups of rows: which columns each group reads, and its weights on those.

    Returns ``[groups, width]`` and ``[groups, to / groups, width]``; every weight left out is 0.
    """
    height = min(rows for rows in range(1, to + 1) if to % rows == 0 and (rows >= BAND or rows == to))
    groups = interpolation(size, to).reshape(-1, height, size)
    read = [np.flatnonzero(group.any(0)) for group in groups]
    width = max(columns[-1] - columns[0] + 1 for columns in read)
    columns = np.array([min(one[0], size - width) + np.arange(width) for one in read])
    return columns, np.take_along_axis(groups, columns[:, None, :], axis=2)


def _replace(model: ir.Model, node: ir.Node) -> None:
    before, after = shape_of(node.inputs[0]) or (), shape_of(node.outputs[0]) or ()
    new = Inserter(model, node, str(node.name), NAME)
    dtype = (node.outputs[0].dtype or ir.DataType.FLOAT).numpy()
    across = new.constant(np.ascontiguousarray(interpolation(before[3], after[3]).T.astype(dtype)), "columns")
    wide = new.node("MatMul", [node.inputs[0], across], (*before[:3], after[3]), "wide")
    columns, weights = bands(before[2], after[2])
    groups, height, width = weights.shape
    read = (*before[:2], groups, width, after[3])
    banded = new.node("Gather", [wide, new.constant(columns, "bands")], read, "banded", axis=2)
    rows = new.constant(weights.astype(dtype), "rows")
    tall = new.node("MatMul", [rows, banded], (*before[:2], groups, height, after[3]), "tall")
    supersede(model, node.outputs[0], new.reshape(tall, after, "whole"))
    model.graph.remove(node, safe=True)
