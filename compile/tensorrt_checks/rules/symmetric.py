"""Rule 1: signed INT8 and symmetric; the zero-point absent, or constant zeros of the scale's size."""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.match import reason_against
from compile.graphs.nodes import constant, input_at, is_constant
from compile.graphs.passes.make_activations_signed import match, non_negative
from compile.graphs.quantizers import DEQUANTIZE, QUANTIZE, quantizer_of, zero_point
from compile.graphs.quantizers import quantized_type as type_of_quantizer
from compile.tensorrt_checks.rules.view import View, data_scale, name_of, tensor_of

NAME = "symmetric-int8"
UNSIGNED = (
    "TensorRT quantizes to signed INT8 only: some parsers refuse uint8, others read it as int8 and clip at 127 steps, half "
    "of the range the scale was made for, without a word"
)
SIGNED = (
    "make the zero-point int8 0 and the scale 255/127 times as large{clamp} (the pass make_activations_signed{unless})"
)
CLAMP = ", with a Relu before the quantization, because uint8 cuts off below 0 and nothing before it is known to"
TO_INT8 = "quantize to INT8 instead, with symmetric activations"
AGAIN = "quantize again with symmetric activations (NNCF: preset=PERFORMANCE together with model_type=TRANSFORMER)"
OTHER = {
    ir.DataType.FLOAT8E4M3FN: "a device of compute capability 8.7 has no FP8 arithmetic",
    ir.DataType.INT4: "TensorRT 10.3 takes INT4 for weights in blocks only, which needs opset 21, and parses none above 20",
}


def check(view: View) -> Iterator[Finding]:
    """Look at every Q node, and at every DQ node that no Q node feeds with the same zero-point."""
    for node in view.each(QUANTIZE, DEQUANTIZE):
        if node.op_type == DEQUANTIZE and _shares_zero(node):
            continue
        yield from _type(node)
        yield from _zero(node)


def _shares_zero(node: ir.Node) -> bool:
    pair = quantizer_of(node)
    return pair is not None and input_at(pair, 2) is input_at(node, 2)


def quantized_type(node: ir.Node) -> ir.DataType | None:
    """Return the integer type of a Q or DQ node as ONNX defines it."""
    if node.op_type == DEQUANTIZE:
        value = input_at(node, 0)
        return None if value is None else value.dtype
    return type_of_quantizer(node)


def _type(node: ir.Node) -> Iterator[Finding]:
    kind = quantized_type(node)
    if kind in (None, ir.DataType.INT8) or (kind == ir.DataType.INT32 and node.op_type == DEQUANTIZE):
        return  # an int32 DQ is rule 3's
    if kind == ir.DataType.UINT8:
        missing = input_at(node, 2) is None
        effect = f"without a zero-point ONNX means uint8; {UNSIGNED}" if missing else UNSIGNED
        yield _finding(node, effect, _to_signed(node))
    else:
        effect = OTHER.get(kind, f"TensorRT has no quantized type {kind.name}") if kind else ""
        yield _finding(node, f"the graph is rejected: {effect}", TO_INT8)


def _to_signed(node: ir.Node) -> str:
    zero = zero_point(node) if node.op_type == QUANTIZE else None
    if zero is None or zero.any():
        return TO_INT8
    clamp, reason = "" if non_negative(input_at(node, 0)) else CLAMP, reason_against(match, node)
    return SIGNED.format(clamp=clamp, unless=f" does not: {reason}" if reason else "")


def _zero(node: ir.Node) -> Iterator[Finding]:
    value = input_at(node, 2)
    if value is None:
        return
    zero, scale = constant(value), data_scale(node)
    if zero is None:
        if is_constant(value):
            return  # the builder works it out
        yield _finding(node, "the graph is rejected: a zero-point must be a constant", AGAIN)
    elif zero.astype("int64").any():
        effect = "the parser refuses a zero-point other than 0: TensorRT's quantization is symmetric"
        yield _finding(node, effect, AGAIN)
    elif scale is not None and zero.size != scale.size:
        effect = f"the parser refuses {zero.size} zero-points for {scale.size} scales"
        yield _finding(node, effect, "give it as many zero-points as scales")


def _finding(node: ir.Node, effect: str, fix: str) -> Finding:
    tensor = tensor_of(input_at(node, 0))
    return Finding(rule=NAME, severity="error", node=name_of(node), tensor=tensor, effect=effect, fix=fix)
