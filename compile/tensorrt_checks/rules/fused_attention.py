"""Attention that no fused kernel takes: TensorRT then computes it in pieces, which write and read the logits of every head.

What decides was measured with TensorRT-RTX 1.7.1 for compute capability 8.6, which is like an Orin's builder, not that one;
the tests build the broken and the fixed graph. No kernel takes one product in INT8 beside the other in float, or an operand that is
repeated over batch or heads. None takes logits that a mask makes larger, or logits and probabilities that something else reads. In float the softmax's
output may be quantized, and fewer than four axes do, where the head size is one of ``PLAIN_HEADS``. In INT8 all four operands and the output
are quantized, and the head size is one of ``INT8_HEADS``. A query, key or value that is quantized alone does no harm.
"""

from collections.abc import Iterator
from math import prod

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.attention import Attention, attentions
from compile.graphs.nodes import integer, shape_of
from compile.graphs.quantizers import QUANTIZE
from compile.tensorrt_checks.rules.view import View, beyond, name_of, quantized, tensor_of

NAME = "fused-attention"
INT8_HEADS = (16, 32, 64)
PLAIN_HEADS = (32, 64)
AXES = 4
EFFECT = "no fused kernel takes this attention, its logits are written and read for every head: {reason}"
WHOLE = f"quantize all four operands and the output, with a head size of {', '.join(map(str, INT8_HEADS))}"
FLOAT_QUERY = f"leave the query in float (the pass float_query), or {WHOLE}"
FLOAT_SOFTMAX = f"leave the softmax's output in float, or {WHOLE}"


def check(view: View) -> Iterator[Finding]:
    """Look at every attention: its types, its shapes, and who else reads what is inside."""
    for attention in attentions(view.nodes):
        for reason, fix in (*_types(attention), *_shapes(attention), *_readers(attention)):
            yield Finding(
                rule=NAME,
                severity="warning",
                node=name_of(attention.first),
                tensor=tensor_of(attention.first.outputs[0]),
                effect=EFFECT.format(reason=reason),
                fix=fix,
            )


def _types(one: Attention) -> Iterator[tuple[str, str]]:
    first, second = ([quantized(value) is not None for value in product.inputs] for product in (one.first, one.second))
    if all(first) and all(second):
        yield from _int8(one)
    elif all(first):
        yield "its first product is in INT8, its second in float", FLOAT_QUERY
    elif all(second):
        yield "its second product is in INT8, its first in float", FLOAT_SOFTMAX
    elif second[0] and not _has_head(one, PLAIN_HEADS):
        yield f"the softmax's output is quantized, and the head size is none of {PLAIN_HEADS}", FLOAT_SOFTMAX


def _has_head(one: Attention, sizes: tuple[int, ...]) -> bool:
    """Say whether the head size is one of these, or unknown."""
    shape = shape_of(one.first.inputs[0])
    return shape is None or shape[-1] in sizes


def _int8(one: Attention) -> Iterator[tuple[str, str]]:
    if not _has_head(one, INT8_HEADS):
        yield (
            f"its head size is none of {INT8_HEADS}, which the INT8 kernel takes",
            "leave the query and the softmax's output in float",
        )
    if {reader.op_type for reader, _ in beyond(one.second.outputs[0])} != {QUANTIZE}:
        yield "all four operands are INT8, and the output is not quantized", "quantize the output, too"


def _shapes(one: Attention) -> Iterator[tuple[str, str]]:
    logits = shape_of(one.first.outputs[0])
    if logits is None:
        return
    if len(logits) < AXES and not _has_head(one, PLAIN_HEADS):
        yield (
            f"it has {len(logits)} axes, and the head size is none of {PLAIN_HEADS}",
            "write it as batch, heads, tokens, head size, with 1 for an axis it lacks",
        )
    if integer(one.softmax, "axis", -1) not in (-1, len(shape_of(one.softmax.outputs[0]) or logits) - 1):
        yield (
            "its softmax is not along the last axis",
            "transpose the first product, so that the keys are the last axis",
        )
    for product in (one.first, one.second):
        left, right = (shape_of(value) for value in product.inputs)
        if left is not None and right is not None and left[:-2] != right[:-2]:
            reason = f"{name_of(product)} repeats one operand over batch or heads: {list(left)} × {list(right)}"
            yield reason, "give both operands the same batch and heads before the product (Expand)"
            return
    wide = [node for node in one.between if _size(shape_of(node.outputs[0])) > _size(logits)]
    if wide:
        yield (
            f"the mask of {name_of(wide[-1])} does not broadcast to the logits: they are repeated over it",
            "repeat the query over the mask's batch and heads (Expand), or add a mask of the logits' shape",
        )


def _size(shape: tuple[int, ...] | None) -> int:
    return prod(shape or ())


def _readers(one: Attention) -> Iterator[tuple[str, str]]:
    for node in (one.first, *one.between, one.softmax):
        value = node.outputs[0]
        if value.is_graph_output() or len({reader for reader, _ in value.uses()}) > 1:
            yield f"{tensor_of(value)} leaves it, too", "compute what else reads it apart, or drop it"
            return
