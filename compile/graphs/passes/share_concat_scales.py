"""The inputs of one Concat get one scale, the largest: an INT8 Concat copies bytes and cannot rescale them.

    before   q_i = clamp(round(x_i / s_i))    x̂_i = s_i·q_i        y = Concat(x̂_1, x̂_2, …)
    after    q_i = clamp(round(x_i / s))      x̂_i = s·q_i          s = max_i s_i

Zero-points are 0, so each range s_i·[−128, 127] is inside the common one: nothing new is clipped, and an input with a
smaller scale is rounded to s/2 instead of s_i/2. Whatever else reads these pairs sees the new scale too. An input may come
from its pair, or from several through another Concat, across operators that choose or move elements.
"""

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from compile.graphs.match import NoMatch, matches
from compile.graphs.nodes import Array, constant, input_at, nodes_of
from compile.graphs.quantizers import dequantizers, dequantizers_behind, quantizer_of, set_parameters


class Pair(NamedTuple):
    """A Q node of one scale with zero-point 0, and its DQ nodes."""

    quantize: ir.Node
    scale: Array
    zero: Array
    readers: tuple[ir.Node, ...]


def share_concat_scales(model: ir.Model) -> tuple[ir.Model, bool]:
    """Rewrite the Q/DQ pairs before every Concat that matches.

    Concats that share an input end up with one scale together, so this goes on until nothing changes.
    """
    modified = False
    while found := next(matches(match, nodes_of(model, "Concat")), None):
        scale = max(float(pair.scale.reshape(())) for pair in found[1])
        for pair in found[1]:
            common = np.asarray(scale, pair.scale.dtype)
            set_parameters(model, pair.quantize, pair.readers, common, np.zeros((), pair.zero.dtype))
        modified = True
    return model, modified


def match(node: ir.Node) -> list[Pair]:
    """Return the pairs that a Concat joins, of several scales.

    Raises:
        NoMatch: an input is float or a constant, a pair cannot be rewritten, or they share a scale already.
    """
    quantizers = _quantizers(node)
    if not quantizers:
        raise NoMatch("an input is not quantized, so that it is a Concat of floats")
    pairs = [_pair(quantize) for quantize in quantizers]
    if len({pair.scale.dtype for pair in pairs}) > 1:
        raise NoMatch("their scales are of several types")
    if len({float(pair.scale.reshape(())) for pair in pairs}) == 1:
        raise NoMatch("they share a scale already")
    return pairs


def _pair(quantize: ir.Node | None) -> Pair:
    if quantize is None:
        raise NoMatch("an input is a constant with a scale of its own")
    scale, zero = constant(input_at(quantize, 1)), constant(input_at(quantize, 2))
    if scale is None or scale.size != 1 or zero is None or zero.any():
        raise NoMatch(f"{quantize.name} has no single scale with zero-point 0")
    return Pair(quantize, scale, zero, dequantizers(quantize))


def _quantizers(node: ir.Node) -> list[ir.Node | None]:
    """Return the Q nodes of the pairs that a Concat joins, None for a DQ of a constant; no pair if an input is float."""
    return list(dict.fromkeys(quantizer_of(one) for one in dequantizers_behind(node.outputs[0])))
