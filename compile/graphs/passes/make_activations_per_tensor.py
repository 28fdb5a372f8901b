"""An activation quantized per channel gets one scale: TensorRT forbids the other, although its parser accepts it.

    before   q_c = clamp(round(x_c / s_c))     x̂_c = s_c·q_c       one scale per channel c
    after    q_c = clamp(round(x_c / s))       x̂_c = s·q_c         s = max_c s_c

Zero-points are 0, so each channel's range s_c·[−128, 127] is inside the common one: nothing new is clipped. A narrow
channel loses resolution, at most s/2 of rounding error instead of s_c/2.
"""

import numpy as np
import onnx_ir as ir

from compile.graphs.match import NoMatch, matches
from compile.graphs.nodes import Array, is_constant, nodes_of
from compile.graphs.quantizers import QUANTIZE, dequantizers, scale_and_zero, set_parameters


def make_activations_per_tensor(model: ir.Model) -> tuple[ir.Model, bool]:
    """Rewrite every Q node that matches, together with its DQ nodes."""
    modified = False
    for node, (scale, zero, readers) in matches(match, nodes_of(model, QUANTIZE)):
        set_parameters(model, node, readers, np.asarray(scale.max(), scale.dtype), np.zeros((), zero.dtype))
        for changed in (node, *readers):
            changed.attributes.pop("axis", None)
        modified = True
    return model, modified


def match(node: ir.Node) -> tuple[Array, Array, tuple[ir.Node, ...]]:
    """Return the scale and the zero-point of a Q node, and its DQ nodes.

    Raises:
        NoMatch: it quantizes a weight, has one scale, or cannot be rewritten.
    """
    if is_constant(node.inputs[0]):
        raise NoMatch("it quantizes a weight")
    scale, zero = scale_and_zero(node)
    if scale.ndim == 0:
        raise NoMatch("it has one scale already")
    if zero.any():
        raise NoMatch("its zero-points are not 0: the channels' ranges have no common scale")
    return scale, zero, dequantizers(node)
