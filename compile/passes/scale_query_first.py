"""Attention is scaled before its first product, where the numbers are smaller, not on the logits.

    before   l = Q·Kᵀ    t = l · c  or  l / c⁻¹          c > 0, one number
    after    l = (c·Q)·Kᵀ                                equal in exact arithmetic

Behind a Q/DQ pair, c moves across it: x̂ = s·round(x/s) becomes c·x → (c·s)·round(c·x/(c·s)), the same integers. The product
reads a copy of the pair with the scale c·s, behind the multiplication, so the copy is its neighbour; whatever else reads the
old pair still does.
"""

import numpy as np
import onnx_ir as ir

from compile.passes.base import DEQUANTIZE, QUANTIZE, Array, add_constant, constant, is_standard, label, nodes_of

BEFORE_SOFTMAX = frozenset({"Add", "Cast", "Identity", "Reshape", "Where"})


def scale_query_first(model: ir.Model) -> tuple[ir.Model, bool]:
    """Rewrite every Mul and Div that ``why_not`` has nothing against."""
    modified = False
    for node in [*nodes_of(model, "Mul"), *nodes_of(model, "Div")]:
        if why_not(node):
            continue
        product, factor = scaled_product(node)
        assert product is not None and factor is not None
        _scale_first_input(model, product, factor)
        node.outputs[0].replace_all_uses_with(product.outputs[0])
        model.graph.remove(node, safe=True)
        modified = True
    return model, modified


def why_not(node: ir.Node) -> str:
    """Return why a Mul or Div stays where it is, or nothing."""
    product, factor = scaled_product(node)
    if product is None or factor is None:
        return "it does not scale a product of two activations by one number"
    if not float(factor.reshape(())) > 0 or not np.isfinite(float(factor.reshape(()))):
        return "its factor is not above 0"
    if len(list(product.outputs[0].uses())) != 1 or product.outputs[0].is_graph_output():
        return "something else reads the unscaled logits"
    if node.outputs[0].is_graph_output():
        return "the scaled logits leave the graph"
    return "" if reaches_softmax(node.outputs[0]) else "no softmax follows"


def scaled_product(node: ir.Node) -> tuple[ir.Node | None, Array | None]:
    """Return the product of two activations whose result a Mul or Div scales by one number, and the factor; or None twice."""
    for place in (0, 1) if node.op_type == "Mul" else (0,):
        value, number = node.inputs[place], constant(node.inputs[1 - place])
        product = None if value is None else value.producer()
        if (
            product is None
            or product.op_type != "MatMul"
            or not is_standard(product)
            or number is None
            or number.size != 1
        ):
            continue
        if any(constant(part) is not None for part in product.inputs):
            continue
        wide = number.astype(np.float64).reshape(())
        with np.errstate(divide="ignore"):
            return product, np.asarray(1.0 / wide if node.op_type == "Div" else wide).astype(number.dtype)
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


def _scale_first_input(model: ir.Model, product: ir.Node, factor: Array) -> None:
    query = product.inputs[0]
    assert query is not None
    dequantize = query.producer()
    quantize = None
    if dequantize is not None and dequantize.op_type == DEQUANTIZE and dequantize.inputs[0] is not None:
        quantize = dequantize.inputs[0].producer()
    if dequantize is None or quantize is None or quantize.op_type != QUANTIZE or constant(quantize.inputs[1]) is None:
        product.replace_input_with(0, _mul(model, query, factor, product))
        return
    data, scale = quantize.inputs[0], constant(quantize.inputs[1])
    assert data is not None and scale is not None
    wider = (scale.astype(np.float64) * factor.astype(np.float64).reshape(())).astype(scale.dtype)
    value = add_constant(model, f"{label(product)}/query_scale", wider)
    scaled = _mul(model, data, factor, product)
    q = _copy(quantize, f"{label(product)}/query_q", [scaled, value, *quantize.inputs[2:]], product)
    d = _copy(dequantize, f"{label(product)}/query_dq", [q, value, *dequantize.inputs[2:]], product)
    product.replace_input_with(0, d)


def _mul(model: ir.Model, value: ir.Value, factor: Array, before: ir.Node) -> ir.Value:
    number = add_constant(model, f"{label(before)}/query_factor", factor.reshape(()))
    output = ir.Value(name=f"{label(before)}/query_scaled", type=value.type, shape=value.shape)
    node = ir.Node("", "Mul", [value, number], outputs=[output], name=f"{label(before)}/query_scaled")
    before.graph.insert_before(before, node)  # type: ignore[union-attr]
    return output


def _copy(node: ir.Node, name: str, inputs: list[ir.Value | None], before: ir.Node) -> ir.Value:
    old = node.outputs[0]
    output = ir.Value(name=name, type=old.type, shape=old.shape)
    copy = ir.Node("", node.op_type, inputs, node.attributes.values(), outputs=[output], name=name)
    before.graph.insert_before(before, copy)  # type: ignore[union-attr]
    return output
