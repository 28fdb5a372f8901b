"""Rule 2: scales constant and above 0; activations per tensor; weights per channel on the axis of their output channels."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import WEIGHTED, input_at, integer, is_constant, is_standard, shape_of
from compile.graphs.quantizers import DEQUANTIZE, QUANTIZE, quantizer_of
from compile.tensorrt_checks.rules.view import View, data_scale, name_of, tensor_of

NAME = "constant-scales"


def check(view: View) -> Iterator[Finding]:
    """Look at the scale of every Q node and of every DQ node that has one of its own."""
    for node in view.each(QUANTIZE, DEQUANTIZE):
        pair = quantizer_of(node) if node.op_type == DEQUANTIZE else None
        if pair is None or input_at(pair, 1) is not input_at(node, 1):
            yield from _values(node)
    for node in view.each(DEQUANTIZE):
        scale = data_scale(node)
        if scale is not None and scale.size > 1:
            yield from _weight(node, scale.size) if is_constant(input_at(node, 0)) else _activation(node, scale.size)


def _values(node: ir.Node) -> Iterator[Finding]:
    scale = data_scale(node)
    if scale is None:
        if is_constant(input_at(node, 1)):
            return  # the builder works it out
        effect = "the engine is not built: TensorRT 10.3 has no dynamic quantization, a scale must be a constant"
        yield _finding(node, 1, effect, "calibrate on images, so that the scale is known when the graph is written")
        return
    numbers = scale.astype(np.float64)
    if not (numbers > 0).all() or not np.isfinite(numbers).all():
        effect = "the parser refuses a scale that is not above 0"
        fix = "a channel that is always 0 gets the scale 1; one that vanished in FP16 keeps an FP32 scale and a Cast"
        yield _finding(node, 1, effect, fix)


def _activation(node: ir.Node, count: int) -> Iterator[Finding]:
    effect = (
        f"{count} scales for one activation: TensorRT quantizes activations per tensor; its parser takes the graph, "
        "what it computes is undefined"
    )
    yield _finding(node, 0, effect, "use one scale, the largest (the pass make_activations_per_tensor)")


def _weight(node: ir.Node, count: int) -> Iterator[Finding]:
    if integer(node, "block_size", 0):
        yield _finding(node, 1, "the graph is rejected: INT8 has no blocks", "quantize the weight per channel")
        return
    shape = shape_of(input_at(node, 0)) or shape_of(node.outputs[0])
    if shape is None:
        return
    axis = integer(node, "axis", 1)
    axis += len(shape) if axis < 0 else 0
    if not 0 <= axis < len(shape) or shape[axis] != count:
        effect = f"the parser refuses {count} scales on axis {axis} of a tensor of shape {list(shape)}"
        yield _finding(node, 1, effect, "as many scales as the axis is long")
        return
    for reader, index in node.outputs[0].uses():
        wanted = channel_axis(reader, index, len(shape))
        if wanted is not None and wanted != axis:
            effect = f"no INT8 kernel: {reader.op_type} wants its weight's scales on axis {wanted}, they are on {axis}"
            fix = f"quantize the weight again along axis {wanted}, its output channels"
            yield _finding(node, 0, effect, fix)


def channel_axis(node: ir.Node, index: int, rank: int) -> int | None:
    """Return the axis of a weighted operator's weight that holds its output channels; None where there is none.

    There is none that NVIDIA agrees on for a ConvTranspose: the rule ``not-verified`` is about it.
    """
    if not is_standard(node) or node.op_type not in WEIGHTED or index > 1:
        return None
    if node.op_type == "MatMul":
        return None if rank == 1 else rank - 1 if index == 1 else rank - 2  # a vector is summed over
    if index == 0:
        return None
    if node.op_type == "Gemm":
        return 0 if integer(node, "transB", 0) else 1
    return 0 if node.op_type == "Conv" else None


def _finding(node: ir.Node, index: int, effect: str, fix: str) -> Finding:
    tensor = tensor_of(input_at(node, index))
    return Finding(rule=NAME, severity="error", node=name_of(node), tensor=tensor, effect=effect, fix=fix)
