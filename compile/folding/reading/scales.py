"""c · (A Bᵀ) = (c · A) Bᵀ: a number that multiplies a product of two tensors multiplies the smaller of them.

There it is behind a linear map and folds into it. An example is the scale of an attention after its first product.
"""

from math import prod

import onnx_ir as ir

from compile.graphs.nodes import constant, is_constant, is_standard, shape_of


def with_early_scales(model: ir.Model) -> ir.Model:
    """Return the model with such scales before their products; the model itself where it has none."""
    if not any(_product(node) for node in model.graph):
        return model
    model = model.clone()
    for node in list(model.graph):
        product = _product(node)
        if product is not None:
            _move(model.graph, node, product)
    return model


def _product(node: ir.Node) -> ir.Node | None:
    """Return the product that only this node reads, to scale it, if it is larger than one of its inputs."""
    if node.op_type not in ("Mul", "Div") or not is_standard(node) or node.outputs[0].is_graph_output():
        return None
    scale, [scaled, *more] = node.inputs[1], [one for one in node.inputs if not is_constant(one)] or [None]
    if node.op_type == "Mul" and is_constant(node.inputs[0]):
        scale = node.inputs[0]
    number = constant(scale)
    if more or scaled is None or number is None or number.size != 1 or not number.all():
        return None
    product = scaled.producer()
    if product is None or product.op_type != "MatMul" or not is_standard(product) or len(scaled.uses()) != 1:
        return None
    shapes = [shape_of(value) for value in (*product.inputs, scaled)]
    if scaled.is_graph_output() or any(is_constant(value) for value in product.inputs) or None in shapes:
        return None
    return product if min(_size(value) for value in product.inputs) < _size(scaled) else None


def _size(value: ir.Value | None) -> int:
    return prod(shape_of(value) or ())


def _move(graph: ir.Graph, node: ir.Node, product: ir.Node) -> None:
    place = 0 if _size(product.inputs[0]) <= _size(product.inputs[1]) else 1
    inner, scale = product.inputs[place], next(one for one in node.inputs if is_constant(one))
    number = constant(scale)
    if inner is None or scale is None or number is None:
        raise AssertionError("a scaled product has two inputs and a scale")
    if number.ndim:  # its axes might be more than the input's
        scale = ir.Value(name=f"{node.name or node.outputs[0].name}/number", const_value=ir.tensor(number.reshape(())))
        graph.register_initializer(scale)
    early = ir.Node("", node.op_type, [inner, scale])
    output = early.outputs[0]
    output.name, output.shape, output.type = f"{node.outputs[0].name}/early", inner.shape, inner.type
    graph.insert_before(product, early)
    product.replace_input_with(place, output)
    ir.convenience.replace_all_uses_with(node.outputs[0], product.outputs[0])
    graph.remove(node, safe=True)
