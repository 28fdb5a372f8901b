"""A weight's DQ becomes its operator's neighbour: what stood between them is done on the stored integers or the scales.

    before   Ŵ = s·q      V = Transpose(Ŵ)       y = x·V          before   V = c · Ŵ          (c > 0, one number or one per channel)
    after    q' = Transpose(q)   V = s·q'        y = x·V          after    V = (c·s) · q

A transposition permutes integers, so the numbers are the same; the axis of the scales moves with it. A product with c is one
rounding of c·s instead of one per element: equal to half a step of float32. A weight as Q + DQ on float is transposed before
its Q.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compile.graphs.match import NoMatch, matches
from compile.graphs.nodes import Array, add_constant, constant, label, nodes_of
from compile.graphs.quantizers import DEQUANTIZE, QUANTIZE, scale_axis


def move_weight_dequantization(model: ir.Model) -> tuple[ir.Model, bool]:
    """Rewrite, until nothing is left, every DQ of a constant that matches."""
    modified = False
    while found := next(matches(match, nodes_of(model, DEQUANTIZE)), None):
        node, between = found
        _transpose(model, node, between) if between.op_type == "Transpose" else _multiply(model, node, between)
        between.outputs[0].replace_all_uses_with(node.outputs[0])
        model.graph.remove(between, safe=True)
        modified = True
    return model, modified


def match(node: ir.Node) -> ir.Node:
    """Return the operator between a DQ node of a constant and the operator that multiplies with it.

    Raises:
        NoMatch: there is none, or it cannot be moved.
    """
    source = _source(node)
    if source is None or constant(node.inputs[1]) is None:
        raise NoMatch("it dequantizes something computed")
    if node.outputs[0].is_graph_output() or len(list(node.outputs[0].uses())) != 1:
        raise NoMatch("its result is read more than once, or not at all")
    [(between, index)] = node.outputs[0].uses()
    if between.outputs[0].is_graph_output():
        raise NoMatch(f"the {between.op_type}'s result leaves the graph")
    if between.op_type == "Transpose":
        return between
    if between.op_type != "Mul":
        raise NoMatch(f"{between.op_type} reads it: it is its operator's neighbour, or nothing that can be moved")
    factor, scale = constant(between.inputs[1 - index]), constant(node.inputs[1])
    if factor is None or scale is None or _factors(factor, node, scale) is None:
        raise NoMatch("the factor is not one per scale")
    return between


def _source(node: ir.Node) -> ir.Value | None:
    """Return the constant a DQ node dequantizes, seen through a Q node of its own."""
    data = node.inputs[0]
    quantize = None if data is None else data.producer()
    if quantize is not None and quantize.op_type == QUANTIZE and len(list(quantize.outputs[0].uses())) == 1:
        data = quantize.inputs[0]
    return data if constant(data) is not None else None


def _transpose(model: ir.Model, node: ir.Node, between: ir.Node) -> None:
    source, quantize = _source(node), node.inputs[0].producer() if node.inputs[0] is not None else None
    array = constant(source)
    assert source is not None and array is not None
    attribute = between.attributes.get("perm")
    order = tuple(range(array.ndim))[::-1] if attribute is None else tuple(attribute.as_ints())
    pair = [node] if quantize is None or source is node.inputs[0] else [quantize, node]
    pair[0].replace_input_with(0, add_constant(model, f"{source.name}/transposed", array.transpose(order)))
    for one in pair:
        axis = scale_axis(one, array.ndim)
        one.attributes["axis"] = ir.AttrInt64("axis", order.index(axis))
        one.outputs[0].shape = ir.Shape([array.shape[index] for index in order])


def _multiply(model: ir.Model, node: ir.Node, between: ir.Node) -> None:
    [(_, index)] = node.outputs[0].uses()
    factor, scale = constant(between.inputs[1 - index]), constant(node.inputs[1])
    assert factor is not None and scale is not None
    factors = _factors(factor, node, scale)
    assert factors is not None
    wider = (scale.astype(np.float64) * factors).astype(scale.dtype)
    node.replace_input_with(1, add_constant(model, f"{label(node)}/scale", wider))


def _factors(factor: Array, node: ir.Node, scale: Array) -> NDArray[np.float64] | None:
    """Return c as one factor per scale, None where it has none, or would change the sign or the shape of the weight."""
    weight, numbers = constant(_source(node)), factor.astype(np.float64)
    if weight is None or not (numbers > 0).all():
        return None
    rank = weight.ndim
    if factor.size == 1 and factor.ndim <= rank:
        return np.asarray(numbers.reshape(()))
    wanted = [1] * rank
    wanted[scale_axis(node, rank)] = scale.size
    padded = [1] * (rank - factor.ndim) + list(factor.shape)
    return numbers.reshape(scale.shape) if scale.size > 1 and padded == wanted else None
