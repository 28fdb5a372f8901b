"""Rule 10: normalization is one operator, and it and softmax are FP32.

    x / √(mean(x²) + ε)     however it is written: Div, Reciprocal and Mul, Pow(·, −½), 1 / √·, E[x²] − μ², ReduceL2

In FP16 the squares of values above 255 are infinite, so the quotient is 0.
"""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import constant, input_at, is_constant
from compile.tensorrt_checks.rules.view import View, name_of, producer, tensor_of

NAME = "native-norm"
DECOMPOSED = (
    "the squares of a decomposed normalization overflow in FP16, and nothing tells TensorRT to keep them in FP32 (a peer's "
    "Swin-T lost 5 AP to it)"
)
NATIVE = "export at opset 17 or above, where LayerNormalization is one operator"
CAST = "Cast to FP32 before it and back behind it"
NARROW = "{operator} sums in FP16: its sum overflows above 65,504 and its differences cancel"
OPERATORS = (
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LogSoftmax",
    "LpNormalization",
    "MeanVarianceNormalization",
    "ReduceL2",
    "RMSNormalization",
    "Softmax",
)
SUMS = ("GlobalAveragePool", "ReduceMean", "ReduceSum")
# What a mean square passes on the way to its root and to the quotient.
KEEPS = frozenset(
    {"Add", "Cast", "Clip", "Expand", "Identity", "Max", "Min", "Reshape", "Squeeze", "Sub", "Transpose", "Unsqueeze"}
)
ROOT = 0.5


def check(view: View) -> Iterator[Finding]:
    """Look for a root of a mean square that divides, and at the type of the native operators."""
    typed = any(value.dtype == ir.DataType.FLOAT16 for node in view.nodes for value in node.outputs)
    for node in view.nodes:
        squared = mean_square(node)
        if squared is None or (typed and squared.dtype != ir.DataType.FLOAT16):
            continue
        for quotient, divided in quotients(node.outputs[0], rooted=node.op_type == "ReduceL2"):
            centred = producer(divided, "Sub")
            yield _finding(quotient, tensor_of(divided), DECOMPOSED, NATIVE if centred is not None else CAST)
    for node in view.each(*OPERATORS):
        value = input_at(node, 0)
        if value is not None and value.dtype == ir.DataType.FLOAT16:
            yield _finding(node, tensor_of(value), NARROW.format(operator=node.op_type), CAST)


def mean_square(node: ir.Node) -> ir.Value | None:
    """Return what a node takes the mean square, or the sum of squares, of; None if it does something else."""
    value = input_at(node, 0)
    if node.op_type == "ReduceSumSquare" or (
        node.op_type == "ReduceL2" and value is not None and value.dtype != ir.DataType.FLOAT16
    ):
        return value
    square = producer(_uncast(value), "Mul", "Pow") if node.op_type in SUMS else None
    if square is None:
        return None
    base, other = input_at(square, 0), input_at(square, 1)
    if square.op_type == "Pow":
        return base if _number(other) == 2 else None
    return base if _same(base, other) else None


def _uncast(value: ir.Value | None) -> ir.Value | None:
    cast = producer(value, "Cast")
    return value if cast is None else input_at(cast, 0)


def _same(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Say whether two values are one, or the same operator of the same values."""
    if one is other:
        return one is not None and not is_constant(one)
    first, second = producer(one, "Sub"), producer(other, "Sub")
    return first is not None and second is not None and list(first.inputs) == list(second.inputs)


def _number(value: ir.Value | None) -> float | None:
    array = constant(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def quotients(value: ir.Value, *, rooted: bool) -> Iterator[tuple[ir.Node, ir.Value | None]]:
    """Yield (Div or Mul, what it divides) for each division by a root of this value, or by a power of it like one."""
    waiting, seen = [(value, rooted, False)], set[tuple[ir.Value, bool, bool]]()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        value, rooted, inverse = current
        for node, index in value.uses():
            other = input_at(node, 1 - index) if index < 2 else None
            if _divides(node, index, rooted=rooted, inverse=inverse) and not is_constant(other):
                yield node, other
            elif step := _step(node, index, other, rooted=rooted, inverse=inverse):
                waiting.append((node.outputs[0], *step))


def _divides(node: ir.Node, index: int, *, rooted: bool, inverse: bool) -> bool:
    return rooted and ((node.op_type == "Div" and index == 1 and not inverse) or (node.op_type == "Mul" and inverse))


def _step(
    node: ir.Node, index: int, other: ir.Value | None, *, rooted: bool, inverse: bool
) -> tuple[bool, bool] | None:
    """Return whether a value is rooted and inverse behind a node; None where it is no part of a norm there."""
    if node.op_type == "Sqrt":
        return True, inverse
    if node.op_type == "Reciprocal":
        return rooted, not inverse
    if node.op_type == "Pow" and index == 0:
        power = _number(other)
        return (
            (rooted or abs(power) == ROOT, inverse ^ (power < 0))
            if power is not None and power in (ROOT, -ROOT, -1.0)
            else None
        )
    if node.op_type in ("Div", "Mul") and is_constant(other):
        return rooted, inverse ^ (node.op_type == "Div" and index == 1)
    return (rooted, inverse) if node.op_type in KEEPS and index in (0, 1) else None


def _finding(node: ir.Node, tensor: str, effect: str, fix: str) -> Finding:
    return Finding(rule=NAME, severity="warning", node=name_of(node), tensor=tensor, effect=effect, fix=fix)
