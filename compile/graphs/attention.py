"""Attention in a graph, found by structure, whatever its nodes are called: softmax(Q·Kᵀ, scaled and masked)·V.

first    l = Q·Kᵀ           of two activations
         t = l·c + m        or whatever ``BEFORE`` allows: scales, masks, casts, reshapes, Q/DQ pairs
softmax  p = softmax(t)
second   o = p·V            V an activation
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import onnx_ir as ir

from compile.graphs.nodes import input_at, is_constant, is_standard
from compile.graphs.quantizers import DEQUANTIZE, QUANTIZE

AFTER = frozenset({"Cast", "Dropout", "Identity", "Reshape", "Squeeze", "Unsqueeze", QUANTIZE, DEQUANTIZE})
BEFORE = AFTER | {"Add", "Clip", "Div", "Max", "Min", "Mul", "Sub", "Where"}


class Attention(NamedTuple):
    """One attention; ``between`` are the nodes from the first product to the softmax, the nearest to the softmax first."""

    first: ir.Node
    between: tuple[ir.Node, ...]
    softmax: ir.Node
    second: ir.Node


def attentions(nodes: Iterable[ir.Node]) -> Iterator[Attention]:
    """Yield every attention among some nodes, in the order of their softmaxes."""
    for node in nodes:
        if node.op_type == "Softmax" and is_standard(node):
            found, second = _first(input_at(node, 0)), _second(node.outputs[0])
            if found is not None and second is not None:
                yield Attention(found[0], found[1], node, second)


def _first(value: ir.Value | None) -> tuple[ir.Node, tuple[ir.Node, ...]] | None:
    """Return the product that a softmax's input comes from, and the nodes between; a mask may be an activation too."""
    waiting: list[tuple[ir.Value | None, tuple[ir.Node, ...]]] = [(value, ())]
    seen = set[ir.Value]()
    while waiting:
        current, passed = waiting.pop(0)
        node = None if current is None else current.producer()
        if current is None or node is None or current in seen or not is_standard(node):
            continue
        seen.add(current)
        if _of_activations(node):
            return node, passed
        if node.op_type in BEFORE:
            waiting += [(one, (*passed, node)) for one in node.inputs if not is_constant(one)]
    return None


def _second(value: ir.Value) -> ir.Node | None:
    """Return the product that multiplies a softmax's output with an activation."""
    for reader, index in value.uses():
        if index == 0 and _of_activations(reader):
            return reader
        if reader.op_type in AFTER and is_standard(reader) and (found := _second(reader.outputs[0])) is not None:
            return found
    return None


def _of_activations(node: ir.Node) -> bool:
    """Say whether a node multiplies two activations."""
    return node.op_type == "MatMul" and is_standard(node) and not any(is_constant(one) for one in node.inputs)
