"""Attention is scaled before its first product, where the numbers are smaller, not on the logits.

    before   l = Q·Kᵀ    t = l · c  or  l / c⁻¹          c > 0, one number
    after    l = (c·Q)·Kᵀ                                equal in exact arithmetic

Behind a Q/DQ pair, c moves across it: x̂ = s·round(x/s) becomes c·x → (c·s)·round(c·x/(c·s)), the same integers. The product
reads a copy of the pair with the scale c·s, behind the multiplication, so the copy is its neighbour; whatever else reads the
old pair still does. Operators between the old pair and the product only move elements: they are copied to before the copied
pair, which rounds each element as before.
"""

import numpy as np
import onnx_ir as ir

from compile.graphs.match import NoMatch, matches
from compile.graphs.nodes import (
    Array,
    add_constant,
    constant,
    free_name,
    input_at,
    is_constant,
    is_standard,
    label,
    nodes_of,
)
from compile.graphs.quantizers import DEQUANTIZE, SEVERAL_DATA, dequantizers_behind, quantizer_of, same_parameters

BEFORE_SOFTMAX = frozenset({"Add", "Cast", "Identity", "Reshape", "Where"})


def scale_query_first(model: ir.Model) -> tuple[ir.Model, bool]:
    """Rewrite every Mul and Div that matches."""
    modified = False
    for node, (product, factor) in matches(match, [*nodes_of(model, "Mul"), *nodes_of(model, "Div")]):
        _scale_first_input(model, product, factor)
        node.outputs[0].replace_all_uses_with(product.outputs[0])
        model.graph.remove(node, safe=True)
        modified = True
    return model, modified


def match(node: ir.Node) -> tuple[ir.Node, Array]:
    """Return the product whose result a Mul or Div scales, and the factor.

    Raises:
        NoMatch: it is no attention scale, or cannot be moved.
    """
    product, factor = scaled_product(node)
    if product is None or factor is None:
        raise NoMatch("it does not scale a product of two activations by one number")
    if not float(factor.reshape(())) > 0 or not np.isfinite(float(factor.reshape(()))):
        raise NoMatch("its factor is not above 0")
    shape = product.outputs[0].shape
    if factor.ndim > (1 if shape is None else len(shape)):
        raise NoMatch("its factor has more axes than the product is known to have")
    if len(list(product.outputs[0].uses())) != 1 or product.outputs[0].is_graph_output():
        raise NoMatch("something else reads the unscaled logits")
    if node.outputs[0].is_graph_output():
        raise NoMatch("the scaled logits leave the graph")
    if not reaches_softmax(node.outputs[0]):
        raise NoMatch("no softmax follows")
    _require_scalable(product)
    return product, factor


def scaled_product(node: ir.Node) -> tuple[ir.Node | None, Array | None]:
    """Return the product of two activations whose result a Mul or Div scales by one number, and the factor; or None twice."""
    for index in (0, 1) if node.op_type == "Mul" else (0,):
        value, number = node.inputs[index], constant(node.inputs[1 - index])
        product = None if value is None else value.producer()
        if (
            product is None
            or product.op_type != "MatMul"
            or not is_standard(product)
            or number is None
            or number.size != 1
        ):
            continue
        if any(is_constant(part) for part in product.inputs):
            continue
        wide = number.astype(np.float64).reshape(())
        with np.errstate(divide="ignore"):
            one = np.asarray(1.0 / wide if node.op_type == "Div" else wide).astype(number.dtype)
        return product, one.reshape(number.shape)
    return None, None


def reaches_softmax(value: ir.Value) -> bool:
    """Say whether a value is read by a softmax, perhaps after a mask was added."""
    for reader, _ in value.uses():
        if not is_standard(reader):
            continue
        if reader.op_type == "Softmax":
            return True
        if reader.op_type in BEFORE_SOFTMAX and reaches_softmax(reader.outputs[0]):
            return True
    return False


def _require_scalable(product: ir.Node) -> None:
    """Raise ``NoMatch`` if a product's first input cannot be scaled before its quantization."""
    dequantizers = dequantizers_behind(product.inputs[0])
    for dequantize in dequantizers:
        quantize, first = quantizer_of(dequantize), quantizer_of(dequantizers[0])
        if quantize is None or first is None or not same_parameters(quantize, dequantize):
            raise NoMatch("its first input is dequantized, but no Q node of the same constant scale feeds the DQ")
        if not same_parameters(quantize, first):
            raise NoMatch("its first input is joined from tensors of several scales")
    if not dequantizers or dequantizers[0].outputs[0] is product.inputs[0]:
        return
    scale = constant(input_at(dequantizers[0], 1))
    if scale is not None and scale.size > 1:
        raise NoMatch("its first input has several scales, and is moved behind them")


def _scale_first_input(model: ir.Model, product: ir.Node, factor: Array) -> None:
    query = product.inputs[0]
    dequantize = next(iter(dequantizers_behind(query)), None)
    quantize = None if dequantize is None else quantizer_of(dequantize)
    assert query is not None
    if dequantize is None or quantize is None:
        product.replace_input_with(0, _mul(model, query, factor, product))
        return
    scale = constant(quantize.inputs[1])
    assert scale is not None
    wider = (scale.astype(np.float64) * factor.astype(np.float64).reshape(())).astype(scale.dtype)
    value = add_constant(model, f"{label(product)}/query_scale", wider)
    scaled = _mul(model, unquantized(query, product, {}), factor, product)
    q = _copy(quantize, [scaled, value, *quantize.inputs[2:]], product, ["query_q"]).outputs[0]
    d = _copy(dequantize, [q, value, *dequantize.inputs[2:]], product, ["query_dq"]).outputs[0]
    q.shape = d.shape = query.shape
    product.replace_input_with(0, d)


def unquantized(value: ir.Value, product: ir.Node, copies: dict[ir.Node, ir.Node]) -> ir.Value:
    """Return what a value would be without the Q/DQ pairs it comes from; what moves it is copied before ``product``."""
    node = value.producer()
    assert node is not None
    if node.op_type == DEQUANTIZE:
        quantize = quantizer_of(node)
        assert quantize is not None and quantize.inputs[0] is not None
        return quantize.inputs[0]
    if node not in copies:
        count = len(node.inputs) if node.op_type in SEVERAL_DATA else 1
        data = [unquantized(one, product, copies) for one in node.inputs[:count] if one is not None]
        names = [f"query_moved/{output.name}" for output in node.outputs]
        copies[node] = _copy(node, [*data, *node.inputs[count:]], product, names)
    return copies[node].outputs[list(node.outputs).index(value)]


def _mul(model: ir.Model, value: ir.Value, factor: Array, before: ir.Node) -> ir.Value:
    number = add_constant(model, f"{label(before)}/query_factor", factor.reshape(()))
    name = free_name(model.graph, f"{label(before)}/query_scaled")
    output = ir.Value(name=name, type=value.type, shape=value.shape)
    model.graph.insert_before(before, ir.Node("", "Mul", [value, number], outputs=[output], name=name))
    return output


def _copy(node: ir.Node, inputs: list[ir.Value | None], before: ir.Node, names: list[str]) -> ir.Node:
    """Put a node like ``node``, of other inputs, before ``before``; its outputs get ``names`` behind that one's."""
    graph = before.graph
    assert isinstance(graph, ir.Graph)
    outputs = [
        ir.Value(name=free_name(graph, f"{label(before)}/{name}"), type=old.type, shape=old.shape)
        for name, old in zip(names, node.outputs, strict=True)
    ]
    copy = ir.Node("", node.op_type, inputs, node.attributes.values(), outputs=outputs, name=outputs[0].name)
    graph.insert_before(before, copy)
    return copy
