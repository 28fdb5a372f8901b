"""Rule 7: some operators stay in float: thin products, convolutions of few channels, LayerNorm, softmax, GELU internals."""

from collections.abc import Iterator

import onnx_ir as ir

from compile.lint.view import (
    WEIGHTED,
    View,
    beyond,
    gemm_size,
    integer,
    is_constant,
    is_standard,
    name_of,
    pair_of,
    place,
    quantized,
    shape_of,
    tensor_of,
)
from compile.passes.base import DEQUANTIZE
from report.legal import Finding

NAME = "float-operator"
LEAST = 16  # channels an INT8 tensor-core tile is filled with
FEW = 4  # input channels a vectorised INT8 layout packs into one element
FLOAT = frozenset(
    {"Erf", "Gelu", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LogSoftmax", "Softmax"}
)
PADDED = "the INT8 kernel pads {what} to a tile of {least}: slower than its float form, and less exact"
INSIDE = "{operator} computes in float; quantizing what it reads rounds it and saves nothing"


def check(view: View) -> Iterator[Finding]:
    """Look at the size of every INT8 product, and at what reads each quantized activation."""
    for node in view.each(*WEIGHTED):
        if quantized(place(node, 0)) and quantized(place(node, 1)):
            yield from _size(node)
    for node in view.each(DEQUANTIZE):
        if pair_of(node) is not None and not is_constant(node.inputs[0]):
            for reader, _ in beyond(node.outputs[0]):
                if is_standard(reader) and reader.op_type in FLOAT:
                    effect = INSIDE.format(operator=reader.op_type)
                    yield _finding(reader, tensor_of(node.outputs[0]), effect, "quantize behind it, not before it")


def _size(node: ir.Node) -> Iterator[Finding]:
    size = gemm_size(node)
    thin = "" if size is None else _thin(size) or _few(node)
    if thin:
        effect = PADDED.format(what=thin, least=LEAST)
        yield _finding(node, tensor_of(node.outputs[0]), effect, "leave the operator in float")


def _thin(size: tuple[int, int, int]) -> str:
    rows, depth, columns = size
    if rows == 1 or columns == 1:
        return "M 1" if rows == 1 else "N 1"
    named = [f"{letter} {number}" for letter, number in (("K", depth), ("N", columns)) if number < LEAST]
    return " and ".join(named)


def _few(node: ir.Node) -> str:
    weight = shape_of(place(node, 1))
    if node.op_type != "Conv" or weight is None or integer(node, "group", 1) > 1:
        return ""
    return f"{weight[1]} input channels" if weight[1] < FEW else ""


def _finding(node: ir.Node, tensor: str, effect: str, mend: str) -> Finding:
    return Finding(rule=NAME, severity="warning", node=name_of(node), tensor=tensor, effect=effect, mend=mend)
