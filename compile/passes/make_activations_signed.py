"""uint8 activations with zero-point 0 become int8, which is the only integer type TensorRT quantizes to.

    before   q = clamp(round(x / s), 0, 255)         x̂ = s·q        range 0 … 255·s
    after    q = clamp(round(x / s'), −128, 127)     x̂ = s'·q       range −128·s' … 127·s',   s' = s · 255/127

127·s' = 255·s, so nothing that was representable is clipped; the step grows by 255/127, so the rounding error of a
non-negative x is at most s'/2 instead of s/2. A parser that merely reads the uint8 as int8 clips at 127·s, half the
range, silently.
"""

import numpy as np
import onnx_ir as ir

from compile.passes.base import QUANTIZE, constant, dequantizers, nodes_of, place, set_parameters, zero_point_obstacle


def make_activations_signed(model: ir.Model) -> tuple[ir.Model, bool]:
    """Rewrite every Q node that ``why_not`` has nothing against, together with its DQ nodes."""
    modified = False
    for node in nodes_of(model, QUANTIZE):
        readers = dequantizers(node)
        if why_not(node) or isinstance(readers, str):
            continue
        scale = constant(node.inputs[1])
        assert scale is not None
        signed = (scale.astype(np.float64) * (255.0 / 127.0)).astype(scale.dtype)
        set_parameters(model, node, readers, signed, np.zeros(scale.shape, np.int8))
        node.outputs[0].dtype = ir.DataType.INT8
        modified = True
    return model, modified


def why_not(node: ir.Node) -> str:
    """Return why a Q node stays as it is, or nothing."""
    obstacle, zero = zero_point_obstacle(node), constant(place(node, 2))
    if obstacle or zero is None:
        return obstacle
    if zero.dtype != np.uint8:
        return f"it quantizes to {zero.dtype}"
    if zero.any():
        return "its zero-point is not 0: an asymmetric range has no signed form with the same scale"
    readers = dequantizers(node)
    return readers if isinstance(readers, str) else ""
