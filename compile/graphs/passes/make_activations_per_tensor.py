"""An activation quantized per channel gets one scale: TensorRT forbids the other, although its parser accepts it.

    before   q_c = clamp(round(x_c / s_c))     x̂_c = s_c·q_c       one scale per channel c
    after    q_c = clamp(round(x_c / s))       x̂_c = s·q_c         s = max_c s_c

Zero-points are 0, so each channel's range s_c·[−128, 127] lies inside the common one: nothing new is clipped. A narrow
channel loses resolution, at most s/2 of rounding error in place of s_c/2.
"""

import numpy as np
import onnx_ir as ir

from compile.graphs.nodes import constant, is_constant, nodes_of, place
from compile.graphs.quantizers import QUANTIZE, dequantizers, set_parameters, zero_point, zero_point_obstacle


def make_activations_per_tensor(model: ir.Model) -> tuple[ir.Model, bool]:
    """Rewrite every Q node that ``why_not`` has nothing against, together with its DQ nodes."""
    modified = False
    for node in nodes_of(model, QUANTIZE):
        readers = dequantizers(node)
        if why_not(node) or isinstance(readers, str):
            continue
        scale, zero = constant(node.inputs[1]), zero_point(node)
        assert scale is not None and zero is not None
        set_parameters(model, node, readers, np.asarray(scale.max(), scale.dtype), np.zeros((), zero.dtype))
        for changed in (node, *readers):
            changed.attributes.pop("axis", None)
        modified = True
    return model, modified


def why_not(node: ir.Node) -> str:
    """Return why a Q node stays as it is, or nothing."""
    scale, zero = constant(place(node, 1)), zero_point(node)
    if is_constant(node.inputs[0]):
        return "it quantizes a weight"
    if scale is None or zero is None:
        return zero_point_obstacle(node)
    if scale.ndim == 0:
        return "it has one scale already"
    if zero.any():
        return "its zero-points are not 0: the channels' ranges have no common scale"
    readers = dequantizers(node)
    return readers if isinstance(readers, str) else ""
