"""A 1×1 convolution of resized and concatenated branches, done per branch at the branch's own size.

    before   y = W [R₁ x₁ ; … ; R_n x_n] + b              R_i a bilinear resize, or nothing
    after    y = (W_S x_S + b) + Σ_s R_s (W_s x_s)        x_s the branches of size s, joined; S the size of y, or any

A resize mixes pixels and a 1×1 convolution mixes channels: both are linear and act on different axes, so they commute.
A resize's weights sum to 1, so it keeps a constant: the bias may be added on either side. Branches of equal size and resize share
one convolution and one resize. Fewer MACs where the branches are small; more bytes where y has many channels: measure.
"""

import numpy as np
import onnx_ir as ir

from compile.graphs.insert import Inserter, supersede
from compile.graphs.nodes import constant, nodes_of
from compile.graphs.passes.movement import shape_of
from compile.graphs.passes.resize_as_products import coordinates

NAME = "mix_before_resize"

Size = tuple[int, ...]
CROPPED = "tf_crop_and_resize"  # its weights need not sum to 1
Kind = tuple[tuple[str, str], ...]  # a resize's attributes as text; () where there is none


def mix_before_resize(model: ir.Model) -> tuple[ir.Model, int]:
    """Rewrite every such convolution; returns how many."""
    count = 0
    for conv in nodes_of(model, "Conv"):
        branches = _branches(conv)
        if branches is not None:
            _replace(model, conv, branches)
            count += 1
    return model, count


def _branches(conv: ir.Node) -> list[tuple[ir.Value, ir.Node | None]] | None:
    """Return what the convolution's input joins, each as its value before a resize and the resize; None if it does not."""
    join = conv.inputs[0].producer() if conv.inputs[0] is not None else None
    weight = constant(conv.inputs[1])
    if join is None or join.op_type != "Concat" or join.attributes["axis"].as_int() != 1 or not _single(join):
        return None
    if weight is None or weight.shape[2:] != (1, 1) or not _plain(conv):
        return None
    found = [_before(value) for value in join.inputs if value is not None]
    known = all(shape_of(value) is not None for value, _ in found)
    return found if known and any(resize is not None for _, resize in found) else None


def _plain(conv: ir.Node) -> bool:
    """Say whether a 1×1 convolution has stride 1, one group and no padding."""
    defaults = {"group": (1,), "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    given = {name: conv.attributes[name] for name in defaults if name in conv.attributes}
    values = {
        name: (a.as_int(),) if a.type == ir.AttributeType.INT else tuple(a.as_ints()) for name, a in given.items()
    }
    auto = conv.attributes.get("auto_pad")
    return all(values[name] == defaults[name] for name in values) and (auto is None or auto.as_string() == "NOTSET")


def _single(node: ir.Node) -> bool:
    return len(node.outputs[0].uses()) == 1 and not node.outputs[0].is_graph_output()


def _before(value: ir.Value) -> tuple[ir.Value, ir.Node | None]:
    """Return the value before a resize that commutes, and that resize; or the value itself and None."""
    node = value.producer()
    if (
        node is None
        or node.op_type != "Resize"
        or not _single(node)
        or coordinates(node) in (None, CROPPED)
        or node.inputs[0] is None
    ):
        return value, None
    return node.inputs[0], node


def _kind(resize: ir.Node | None) -> Kind:
    """Return what tells a resize from another between the same sizes."""
    return (
        () if resize is None else tuple(sorted((value.name, str(value.value)) for value in resize.attributes.values()))
    )


def _replace(model: ir.Model, conv: ir.Node, branches: list[tuple[ir.Value, ir.Node | None]]) -> None:
    weight, bias = constant(conv.inputs[1]), conv.inputs[2] if len(conv.inputs) > 2 else None
    assert weight is not None
    edges = np.cumsum([0, *((shape_of(value) or ())[1] for value, _ in branches)])
    groups: dict[tuple[Size, Kind], list[int]] = {}
    for index, (value, resize) in enumerate(branches):
        groups.setdefault(((shape_of(value) or ())[2:], _kind(resize)), []).append(index)
    grid = (shape_of(conv.outputs[0]) or ())[2:]
    order = sorted(groups, key=lambda group: (group[0] != grid, [-side for side in group[0]], group[1]))
    new = Inserter(model, conv, str(conv.name), NAME)
    total = None
    for number, group in enumerate(order):
        members = groups[group]
        columns = np.concatenate([np.arange(edges[index], edges[index + 1]) for index in members])
        part = _convolve(
            new,
            conv,
            [branches[index][0] for index in members],
            weight[:, columns],
            bias if number == 0 else None,
            number,
        )
        resize = branches[members[0]][1]
        if resize is not None:
            part = _resize(new, resize, part, grid, number)
        shape = shape_of(conv.outputs[0]) or ()
        total = part if total is None else new.node("Add", [total, part], shape, f"sum_{number}")
    assert total is not None
    supersede(model, conv.outputs[0], total)
    join = conv.inputs[0].producer() if conv.inputs[0] is not None else None
    gone = [conv, *([join] if join is not None else []), *(resize for _, resize in branches if resize is not None)]
    model.graph.remove(gone, safe=True)


def _convolve(
    new: Inserter, conv: ir.Node, values: list[ir.Value], weight: np.ndarray, bias: ir.Value | None, number: int
) -> ir.Value:
    shape = shape_of(values[0]) or ()
    joined = values[0]
    if len(values) > 1:
        joined = new.node("Concat", values, (shape[0], weight.shape[1], *shape[2:]), f"join_{number}", axis=1)
    inputs = [
        joined,
        new.constant(np.ascontiguousarray(weight), f"weight_{number}"),
        *([bias] if bias is not None else []),
    ]
    return new.node("Conv", inputs, (shape[0], weight.shape[0], *shape[2:]), f"conv_{number}", kernel_shape=[1, 1])


def _resize(new: Inserter, resize: ir.Node, value: ir.Value, grid: Size, number: int) -> ir.Value:
    shape = shape_of(value) or ()
    sizes = new.constant(np.array([*shape[:2], *grid], np.int64), f"sizes_{number}")
    made = new.node("Resize", [value, None, None, sizes], (*shape[:2], *grid), f"resize_{number}")
    node = made.producer()
    assert node is not None
    for attribute in resize.attributes.values():
        node.attributes[attribute.name] = attribute
    return made
