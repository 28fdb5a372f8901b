"""Token products on three axes, and what is computed row by row behind them with them.

A product with a constant matrix, a bias, an activation and a normalisation of the last axis see each row of C numbers by
itself. So the axes before it may be joined:

    before   y = f(x W + b)                                             x [B, H, W, C]
    after    y = Reshape(f(Reshape(x, [B, H·W, C]) W + b), [B, H, W, N])

A runtime fuses bias, activation and the next quantizer into a product of three axes, and may not into one of four (OpenVINO,
INT8: a bias needs as many axes as the product, and its fusion wants fewer than four). Nor need it have a kernel for
a normalisation of one axis of four, which OpenVINO takes apart. A reshape moves no number.

Fires on a MatMul of four axes or more and a constant matrix, and on a LayerNormalization of the last axis of as many. What
follows is flattened with them: unary operators, and sums and products with a vector, a scalar or a tensor of the same shape. Exact.
"""

from math import prod

import onnx_ir as ir

from compile.graphs.insert import Inserter, supersede
from compile.graphs.nodes import constant, input_at, integer, is_standard, label, names_of, nodes_of, shape_of

NAME = "flatten_tokens"
RANK = 3
UNARY = frozenset({"Elu", "Erf", "Gelu", "HardSwish", "Identity", "LeakyRelu", "Neg", "Relu", "Sigmoid", "Tanh"})
BINARY = frozenset({"Add", "Div", "Mul", "Sub"})


def flatten_tokens(model: ir.Model) -> tuple[ir.Model, int]:
    """Flatten every such product and normalisation, and what follows them; returns how many of these two."""
    starts = [node for node in nodes_of(model, "MatMul") if _is_token_product(node)]
    starts += [node for node in nodes_of(model, "LayerNormalization") if _keeps_rows(node)]
    rows: dict[ir.Value, ir.Value] = {}
    taken = names_of(model.graph)
    for node in _rowwise(model.graph, starts):
        _flatten(model, node, rows, taken)
    unread = [value.producer() for value in rows if not value.uses() and not value.is_graph_output()]
    model.graph.remove([node for node in unread if node is not None], safe=True)
    return model, len(starts)


def _is_token_product(node: ir.Node) -> bool:
    """Say whether a MatMul multiplies rows of four or more axes by one constant matrix."""
    rows, weight = shape_of(input_at(node, 0)), constant(input_at(node, 1))
    return rows is not None and len(rows) > RANK and weight is not None and weight.ndim == 2


def _rowwise(graph: ir.Graph, starts: list[ir.Node]) -> list[ir.Node]:
    """Return these nodes and what is computed row by row behind them, in the graph's order."""
    found, seeds = dict[ir.Node, None](), set(starts)
    for node in graph:
        behind = any(value is not None and value.producer() in found for value in node.inputs)
        if node in seeds or (behind and is_standard(node) and _keeps_rows(node)):
            found[node] = None
    return list(found)


def _keeps_rows(node: ir.Node) -> bool:
    shape = shape_of(node.outputs[0])
    if shape is None or len(shape) <= RANK:
        return False
    if node.op_type in BINARY:
        return all(shape_of(value) == shape or _is_vector(value) for value in node.inputs)
    last = integer(node, "axis", -1) in (-1, len(shape) - 1)
    return node.op_type in UNARY or (node.op_type == "LayerNormalization" and last and len(node.outputs) == 1)


def _is_vector(value: ir.Value | None) -> bool:
    shape = shape_of(value)
    return shape is not None and len(shape) <= 1


def _flatten(model: ir.Model, node: ir.Node, rows: dict[ir.Value, ir.Value], taken: set[str | None]) -> None:
    """Put a node of flat inputs and a reshape in a node's place; ``rows`` holds the flat form of values."""
    new, old = Inserter(model, node, label(node), NAME, taken), node.outputs[0]
    inputs = [_flat_form(new, value, rows) for value in node.inputs]
    shape = shape_of(old) or ()
    made = new.node(node.op_type, inputs, _flat(shape), "flat")
    flat, name, value_name = made.producer(), node.name, old.name
    assert flat is not None
    for attribute in node.attributes.values():
        flat.attributes[attribute.name] = (
            ir.AttrInt64("axis", -1) if attribute.name == "axis" else attribute
        )  # the last
    flat.metadata_props.update(node.metadata_props)  # whichever pass made the node, what it multiplies by is the same
    restored = new.reshape(made, shape, "restored")
    rows[restored] = made
    final = old.is_graph_output()
    supersede(model, old, restored)
    model.graph.remove(node, safe=True)
    flat.name = name
    if not final:
        made.name = value_name


def _flat_form(new: Inserter, value: ir.Value | None, rows: dict[ir.Value, ir.Value]) -> ir.Value | None:
    shape = shape_of(value)
    if value is None or shape is None or len(shape) <= RANK:
        return value
    if value not in rows:
        rows[value] = new.reshape(value, _flat(shape), "rows")
    return rows[value]


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], prod(shape[1:-1]), shape[-1])
