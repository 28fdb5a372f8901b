"""The inputs of one Concat get one scale, the largest: an INT8 Concat copies bytes and cannot rescale them.

    before   q_i = clamp(round(x_i / s_i))    x̂_i = s_i·q_i        y = Concat(x̂_1, x̂_2, …)
    after    q_i = clamp(round(x_i / s))      x̂_i = s·q_i          s = max_i s_i

Zero-points are 0, so each range s_i·[−128, 127] lies inside the common one: nothing new is clipped, and an input with a
smaller scale is rounded to s/2 in place of s_i/2. Whatever else reads these pairs sees the new scale too. An input may come
from its pair, or from several through another Concat, across operators that choose or move elements.
"""

import numpy as np
import onnx_ir as ir

from compile.graphs.nodes import constant, nodes_of, place
from compile.graphs.quantizers import dequantizers, dequantizers_behind, quantizer_of, set_parameters


def share_concat_scales(model: ir.Model) -> tuple[ir.Model, bool]:
    """Rewrite the Q/DQ pairs before every Concat that ``why_not`` has nothing against.

    Concats that share an input end up with one scale together, so this goes on until nothing changes.
    """
    modified = False
    while True:
        node = next((node for node in nodes_of(model, "Concat") if not why_not(node)), None)
        if node is None:
            return model, modified
        pairs = [pair for pair in _quantizers(node) if pair is not None]
        scale = max(_scale(pair) for pair in pairs)
        for pair in pairs:
            old, zero, readers = constant(pair.inputs[1]), constant(pair.inputs[2]), dequantizers(pair)
            assert old is not None and zero is not None and not isinstance(readers, str)
            set_parameters(model, pair, readers, np.asarray(scale, old.dtype), np.zeros((), zero.dtype))
        modified = True


def why_not(node: ir.Node) -> str:
    """Return why a Concat's inputs keep their scales, or nothing."""
    pairs = _quantizers(node)
    if not pairs:
        return "an input is not quantized, so that it is a Concat of floats"
    for pair in pairs:
        if pair is None:
            return "an input is a constant with a scale of its own"
        scale, zero = constant(place(pair, 1)), constant(place(pair, 2))
        if scale is None or scale.size != 1 or zero is None or zero.any():
            return f"{pair.name} has no single scale with zero-point 0"
        readers = dequantizers(pair)
        if isinstance(readers, str):
            return readers
    if len({pair.inputs[1].dtype for pair in pairs if pair is not None and pair.inputs[1] is not None}) > 1:
        return "their scales are of several types"
    scales = {_scale(pair) for pair in pairs if pair is not None}
    return "they share a scale already" if len(scales) == 1 else ""


def _scale(pair: ir.Node) -> float:
    scale = constant(pair.inputs[1])
    return 0.0 if scale is None else float(scale.reshape(()))


def _quantizers(node: ir.Node) -> list[ir.Node | None]:
    """Return the Q nodes of the pairs that a Concat joins, None for a DQ of a constant; no pair if an input is float."""
    return list(dict.fromkeys(quantizer_of(one) for one in dequantizers_behind(node.outputs[0])))
