"""The query of a half-quantized attention is float, so that its products multiply in float and one kernel computes them all.

    before   l = DQ(Q(q))·DQ(Q(k))ᵀ    o = softmax(l)·v        the first product in INT8, the second in float
    after    l = q·DQ(Q(k))ᵀ           o = softmax(l)·v        both in float; k is still rounded

No fused kernel takes a first product in INT8 beside a float second one. The key's pair stays. Without any pair between the
projection and the products, TensorRT-RTX cuts the joint projection of query, key and value into its parts. It then
dequantizes their weights on every frame and multiplies in FP16 (measured, targets/jetson/placement.json).
"""

import onnx_ir as ir

from compile.graphs.attention import Attention, attentions
from compile.graphs.match import NoMatch, matches
from compile.graphs.passes.scale_query_first import unquantized
from compile.graphs.quantizers import dequantizers_behind, quantizer_of


def float_query(model: ir.Model) -> tuple[ir.Model, int]:
    """Rewrite every attention that matches; return how many there were."""
    found = [attention for attention, _ in matches(match, attentions(model.graph))]
    for attention in found:
        read_around(attention.first, 0)
    return model, len(found)


def match(attention: Attention) -> None:
    """Accept an attention whose first product is in INT8 and whose second is not.

    Raises:
        NoMatch: it is another one.
    """
    query, key = (dequantizers_behind(value) for value in attention.first.inputs)
    if not query or not key:
        raise NoMatch(f"its {'key' if query else 'query'} is float")
    if all(dequantizers_behind(value) for value in attention.second.inputs):
        raise NoMatch("its second product is in INT8, too")
    if not all(map(quantizer_of, query)):
        raise NoMatch("its query is dequantized, but no Q node feeds the DQ")


def read_around(product: ir.Node, index: int) -> None:
    """Let a product read an input around the Q/DQ pairs that it comes from."""
    value = product.inputs[index]
    assert value is not None
    product.replace_input_with(index, unquantized(value, product, {}))
