"""Rule 7: some operators stay in float: thin products, convolutions of few channels, LayerNorm, softmax, GELU internals."""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import WEIGHTED, gemm_size, input_at, integer, is_constant, is_standard, shape_of
from compile.graphs.quantizers import DEQUANTIZE, quantizer_of
from compile.tensorrt_checks.rules.view import View, beyond, name_of, quantized, tensor_of

NAME = "float-operator"
LEAST = 16  # channels an INT8 tensor-core tile is filled with
FEW = 4  # input channels a vectorised INT8 layout packs into one element
FLOAT = frozenset(
    {"Erf", "Gelu", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LogSoftmax", "Softmax"}
)
PADDED = "the INT8 kernel pads {what} to a tile of {least}: slower than its float form, and less exact"
FEW_IN = "the INT8 layout packs {least} input channels into one element, and {count} leave part of it empty: padding is computed too"
INSIDE = "{operator} computes in float; quantizing what it reads rounds it and saves nothing"


def check(view: View) -> Iterator[Finding]:
    """Look at the size of every INT8 product, and at what reads each quantized activation."""
    for node in view.each(*WEIGHTED):
        if quantized(input_at(node, 0)) and quantized(input_at(node, 1)):
            yield from _size(node)
    for node in view.each(DEQUANTIZE):
        if quantizer_of(node) is not None and not is_constant(node.inputs[0]):
            for reader, _ in beyond(node.outputs[0]):
                if is_standard(reader) and reader.op_type in FLOAT:
                    effect = INSIDE.format(operator=reader.op_type)
                    yield _finding(reader, tensor_of(node.outputs[0]), effect, "quantize behind it, not before it")


def _size(node: ir.Node) -> Iterator[Finding]:
    size, grouped = gemm_size(node), integer(node, "group", 1) > 1
    thin = "" if size is None else _thin(size, grouped=grouped)
    weight = shape_of(input_at(node, 1))
    if thin:
        effect = PADDED.format(what=thin, least=LEAST)
    elif node.op_type == "Conv" and weight is not None and not grouped and weight[1] < FEW:
        effect = FEW_IN.format(least=FEW, count=f"{weight[1]} input channels")
    else:
        return
    yield _finding(node, tensor_of(node.outputs[0]), effect, "leave the operator in float")


def _thin(size: tuple[int, int, int], *, grouped: bool) -> str:
    """Name what is too small; a grouped convolution's K is small by design, and it has kernels of its own."""
    rows, depth, columns = size
    if rows == 1 or columns == 1:
        return "M 1" if rows == 1 else "N 1"
    sizes = (("N", columns),) if grouped else (("K", depth), ("N", columns))
    return " and ".join(f"{letter} {number}" for letter, number in sizes if number < LEAST)


def _finding(node: ir.Node, tensor: str, effect: str, fix: str) -> Finding:
    return Finding(rule=NAME, severity="warning", node=name_of(node), tensor=tensor, effect=effect, fix=fix)
