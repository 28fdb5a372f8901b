"""Rule 3: no Q or DQ on a bias, and no DequantizeLinear of int32 anywhere."""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import input_at, is_constant, shape_of
from compile.graphs.quantizers import DEQUANTIZE
from compile.tensorrt_checks.rules.view import View, name_of, producer, tensor_of

NAME = "float-bias"
WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")
REJECTED = "the graph is rejected: TensorRT dequantizes INT8 only, not int32"
SLOW = "no fusion: TensorRT adds a bias in float inside the kernel, a quantized one leaves an addition of its own"
FIX = "keep the bias as a float initializer (the pass drop_bias_dequantization)"


def check(view: View) -> Iterator[Finding]:
    """Look at every DQ of int32, and at every operator with a bias for one of any type."""
    wide = [node for node in view.each(DEQUANTIZE) if _dtype(node) == ir.DataType.INT32]
    for node in wide:
        yield _finding(node, tensor_of(node.inputs[0]), REJECTED)
    for node in view.each(*WITH_BIAS):
        bias = producer(input_at(node, 2), DEQUANTIZE)
        if bias is not None and bias not in wide:
            yield _finding(node, tensor_of(input_at(node, 2)), SLOW)
    for node in view.each("Add"):
        for one, other in (node.inputs, tuple(reversed(node.inputs))):
            dequantize = producer(one, DEQUANTIZE)
            if dequantize is None or dequantize in wide or not is_constant(one):
                continue
            if len(shape_of(one) or (0, 0)) == 1 and producer(other, "MatMul", "Gemm"):
                yield _finding(node, tensor_of(one), SLOW)


def _dtype(node: ir.Node) -> ir.DataType | None:
    value = input_at(node, 0)
    return None if value is None else value.dtype


def _finding(node: ir.Node, tensor: str, effect: str) -> Finding:
    return Finding(rule=NAME, severity="error", node=name_of(node), tensor=tensor, effect=effect, fix=FIX)
