"""Rule 4: a weight stays INT8 from its DQ to the weighted operator.

TensorRT for RTX carries the DQ across operators that only move elements, and across a factor for each scale: it does them to
the constant. Any other operator between them makes the product a float one, on a weight rounded to INT8. NVIDIA's guide for
TensorRT 10 asks for no operator in between, so what is carried is reported as not verified.
"""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import WEIGHTED, constant, is_constant, is_standard, shape_of
from compile.graphs.quantizers import DEQUANTIZE, scale_axis
from compile.tensorrt_checks.rules.scales import channel_axis
from compile.tensorrt_checks.rules.view import UNVERIFIED, View, data_scale, name_of, tensor_of

NAME = "adjacent-weight"
MOVERS = frozenset(
    {
        "Cast",
        "Concat",
        "Expand",
        "Flatten",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
EFFECT = "{consumer} runs in float on a weight rounded to INT8: {reason}"
FIX = "do {between} on the weight before it is quantized (the pass move_weight_dequantization)"
CARRIED = (
    "not verified on TensorRT {version}: its guide asks for a weight's DQ beside {consumer}, and {between} is between them "
    "(TensorRT-RTX 1.7.1 does it to the constant and multiplies in INT8)"
)


class Route(NamedTuple):
    """How a weight gets from its DQ to an operator; ``reason`` says what makes the product a float one, "" if nothing does."""

    between: tuple[str, ...]
    consumer: ir.Node
    reason: str


def check(view: View) -> Iterator[Finding]:
    """Look at what reads every DQ of a constant, across operators on constants."""
    for node, route in _routes(view):
        if route.reason:
            effect = EFFECT.format(consumer=name_of(route.consumer), reason=route.reason)
            yield _finding(NAME, node, route, effect)


def unverified(view: View) -> Iterator[Finding]:
    """Report every weight whose DQ is carried to its operator."""
    for node, route in _routes(view):
        if not route.reason:
            names = ", ".join(route.between)
            effect = CARRIED.format(version=view.table.version, consumer=name_of(route.consumer), between=names)
            yield _finding(UNVERIFIED, node, route, effect)


def is_dequantized(value: ir.Value | None) -> bool:
    """Say whether a constant is dequantized somewhere, whatever is done to it behind its DQ."""
    node = value.producer() if value is not None and is_constant(value) else None
    return node is not None and (node.op_type == DEQUANTIZE or any(map(is_dequantized, node.inputs)))


def _finding(rule: str, node: ir.Node, route: Route, effect: str) -> Finding:
    return Finding(
        rule=rule,
        severity="error" if rule == NAME else "warning",
        node=name_of(node),
        tensor=tensor_of(node.outputs[0]),
        effect=effect,
        fix=FIX.format(between=", ".join(route.between)),
    )


def _routes(view: View) -> Iterator[tuple[ir.Node, Route]]:
    for node in view.each(DEQUANTIZE):
        shape, scale = shape_of(node.outputs[0]), data_scale(node)
        if is_constant(node.inputs[0]):
            several = scale is not None and scale.size > 1 and shape is not None
            axis = scale_axis(node, len(shape or ())) if several else None
            for route in routes(node.outputs[0], axis, (), ""):
                yield node, route


def routes(value: ir.Value, axis: int | None, passed: tuple[str, ...], reason: str) -> Iterator[Route]:
    """Yield how a value gets to each weighted operator, not straight; ``axis`` is that of its scales, None for one scale."""
    for reader, index in value.uses():
        if not is_standard(reader):
            continue
        if reader.op_type in WEIGHTED:
            wanted = channel_axis(reader, index, len(shape_of(value) or ()))
            if axis is not None and wanted not in (None, axis):
                reason = reason or f"its scales are on axis {axis}, {reader.op_type} wants them on {wanted}"
            if passed and index < 2:
                yield Route(passed, reader, reason)
        elif all(other is None or other is value or is_constant(other) for other in reader.inputs):
            lost = reason or _lost(reader, value, axis)
            for output in reader.outputs:
                yield from routes(output, _moved(reader, axis), (*passed, reader.op_type), lost)


def _lost(node: ir.Node, value: ir.Value, axis: int | None) -> str:
    """Say why a node keeps a DQ from its operator, "" where it does not."""
    if node.op_type in ("Mul", "Div"):
        return "" if _is_one_per_scale(node, value, axis) else f"{node.op_type} has more factors than there are scales"
    if node.op_type not in MOVERS:
        return f"{node.op_type} is computed in float"
    if node.op_type == "Cast":
        return "" if node.outputs[0].dtype in (None, value.dtype) else "Cast changes the type behind the DQ"
    if axis is not None and _moved(node, axis) is None and None not in (shape_of(value), shape_of(node.outputs[0])):
        return f"{node.op_type} divides the axis of its scales"
    return ""


def _is_one_per_scale(node: ir.Node, value: ir.Value, axis: int | None) -> bool:
    [other] = [part for part in node.inputs if part is not value] or [value]
    factor, rank = constant(other), len(shape_of(value) or ())
    if factor is None or factor.size == 1:
        return True
    lengths = (1,) * (rank - factor.ndim) + factor.shape
    return axis is not None and all(length == 1 or place == axis for place, length in enumerate(lengths))


def _moved(node: ir.Node, axis: int | None) -> int | None:
    """Return where a node that moves elements puts the axis of the scales, None if it divides it or shapes are unknown."""
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    if axis is None or before is None or after is None:
        return None
    if node.op_type == "Transpose":
        order = node.attributes.get("perm")
        return (list(order.as_ints()) if order is not None else list(range(len(before)))[::-1]).index(axis)
    if node.op_type == "Expand":
        return axis + len(after) - len(before)
    if len(before) == len(after) and node.op_type not in ("Flatten", "Reshape"):
        return axis
    fits = [
        place
        for place, length in enumerate(after)
        if length == before[axis] and prod(after[:place]) == prod(before[:axis])
    ]
    return fits[-1] if fits else None
