"""Rule 11: what is quantized is no scalar, and the inputs of one Concat share a scale."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import input_at
from compile.graphs.quantizers import DEQUANTIZE, QUANTIZE, dequantizers_behind
from compile.tensorrt_checks.rules.view import View, data_scale, name_of, tensor_of

NAME = "shared-scale"
SCALAR = "the graph is rejected: TensorRT quantizes no 0-D tensor"
DIFFERENT = (
    "an INT8 Concat copies bytes, so its inputs' scales ({scales}) must be one: TensorRT requantizes on the way or takes "
    "the first scale for all"
)


def check(view: View) -> Iterator[Finding]:
    """Look at the rank of what is quantized, and at the scales before every Concat."""
    for node in view.each(QUANTIZE, DEQUANTIZE):
        value = input_at(node, 0)
        if value is not None and value.shape is not None and value.shape.rank() == 0:
            yield _finding(node, tensor_of(value), SCALAR, "leave the scalar in float, or give it one axis of length 1")
    for node in view.each("Concat"):
        scales = [data_scale(found) for found in dequantizers_behind(node.outputs[0])]
        numbers = sorted({float(np.max(scale)) for scale in scales if scale is not None})
        if len(numbers) > 1:
            effect = DIFFERENT.format(scales=", ".join(f"{number:.4g}" for number in numbers))
            fix = "give them one scale, the largest (the pass share_concat_scales)"
            yield _finding(node, tensor_of(node.outputs[0]), effect, fix)


def _finding(node: ir.Node, tensor: str, effect: str, fix: str) -> Finding:
    return Finding(rule=NAME, severity="error", node=name_of(node), tensor=tensor, effect=effect, fix=fix)
