"""Both products of an attention are float: they read around every Q/DQ pair of an activation.

before   l = DQ(Q(q))·DQ(Q(k))ᵀ    o = softmax(l)·v
after    l = q·kᵀ                  o = softmax(l)·v
"""

import onnx_ir as ir

from compile.graphs.attention import attentions
from compile.graphs.passes.float_query import read_around
from compile.graphs.quantizers import dequantizers_behind, quantizer_of


def float_attention(model: ir.Model) -> tuple[ir.Model, int]:
    """Rewrite every attention with a quantized operand; return how many there were."""
    changed = 0
    for attention in list(attentions(model.graph)):
        inputs = [
            (product, index)
            for product in (attention.first, attention.second)
            for index in (0, 1)
            if _paired(product, index)
        ]
        for product, index in inputs:
            read_around(product, index)
        changed += bool(inputs)
    return model, changed


def _paired(product: ir.Node, index: int) -> bool:
    """Say whether an operand comes from Q/DQ pairs; a DQ without a Q has nothing to read around."""
    found = dequantizers_behind(product.inputs[index])
    return bool(found) and all(map(quantizer_of, found))
