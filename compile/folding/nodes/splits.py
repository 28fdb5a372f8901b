"""Slices that cut a tensor into all its parts along one axis are one Split.

Parts that one Concat joins again are a roll, and stay: rewrites know it by its slices.
"""

from collections.abc import Set as AbstractSet
from itertools import pairwise

import onnx_ir as ir

from compile.folding.nodes.builder import Builder, static_shape
from compile.graphs.nodes import constant


def merge_slices(builder: Builder, needed: AbstractSet[ir.Value]) -> None:
    """Replace the slices among a graph's nodes; the ``needed`` tensors stay."""
    groups: dict[tuple[ir.Value, int], dict[tuple[int, int], ir.Node]] = {}
    for node in builder.nodes:
        if node.op_type == "Slice" and node.domain == "" and node.inputs[0] is not None:
            cut = _cut(node)
            if cut is not None and not needed & {*node.outputs}:
                axis, start, stop = cut
                groups.setdefault((node.inputs[0], axis), {}).setdefault((start, stop), node)
    for (tensor, axis), slices in groups.items():
        spans = sorted(slices)
        size = static_shape(tensor)[axis]
        whole = spans[0][0] == 0 and spans[-1][1] == size and all(one[1] == other[0] for one, other in pairwise(spans))
        readers = {reader for node in slices.values() for reader, _ in node.outputs[0].uses()}
        if len(spans) > 1 and whole and [reader.op_type for reader in readers] != ["Concat"]:
            _split(builder, tensor, axis, [slices[span] for span in spans])


def _cut(node: ir.Node) -> tuple[int, int, int] | None:
    """Return the axis, begin and end of a slice along one axis whose step is 1."""
    parts = [constant(value) for value in node.inputs[1:]]
    if len(parts) < 3 or any(part is None or part.size != 1 for part in parts):
        return None
    start, stop, axis, *step = (int(part.reshape(-1)[0]) for part in parts if part is not None)
    shape = static_shape(node.inputs[0])
    if step not in ([], [1]) or not shape:
        return None
    bounds = slice(start, stop).indices(shape[axis])
    return axis % len(shape), bounds[0], bounds[1]


def _split(builder: Builder, tensor: ir.Value, axis: int, slices: list[ir.Node]) -> None:
    shapes = [static_shape(node.outputs[0]) for node in slices]
    sizes = builder.integers([shape[axis] for shape in shapes], "sizes")
    place = min(builder.nodes.index(node) for node in slices)
    name = builder.unused(f"{slices[0].name}/Split")
    outputs = builder.nodes_of("Split", [tensor, sizes], shapes, name, {"axis": axis})
    builder.nodes.insert(place, builder.nodes.pop())
    for node, output in zip(slices, outputs, strict=True):
        ir.convenience.replace_all_uses_with(node.outputs[0], output)
