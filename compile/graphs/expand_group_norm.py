"""GroupNormalization written with operators of every opset.

opset 18–20   scale and bias per group; ONNX deprecated it, and its checker refuses it
              y = Reshape(InstanceNormalization(Reshape(x, [0, G, −1]), scale, bias), shape of x)
opset 21 on   scale and bias per channel: the same with ones and zeros, then y·scale + bias
"""

import numpy as np
import onnx_ir as ir

from compile.graphs.nodes import Array, free_name, input_at, integer, is_standard, label, register, shape_of

PER_CHANNEL = 21  # the opset from which scale and bias are those of channels
OPERATOR = "GroupNormalization"


def expand_group_norms(model: ir.Model, opset: int, wanted: int) -> int:
    """Replace every GroupNormalization of a model at ``opset`` that has none at ``wanted``; return how many there were."""
    nodes = [node for node in model.graph if node.op_type == OPERATOR and is_standard(node)]
    nodes = [node for node in nodes if wanted < PER_CHANNEL and shape_of(input_at(node, 0))]
    for node in nodes:
        _expand(model, node, free_name(model.graph, f"{label(node)}/expanded"), per_channel=opset >= PER_CHANNEL)
    return len(nodes)


def _expand(model: ir.Model, node: ir.Node, name: str, *, per_channel: bool) -> None:
    x, scale, bias = node.inputs
    shape, groups, output = shape_of(x) or (), integer(node, "num_groups", 1), node.outputs[0]

    def stored(suffix: str, array: Array) -> ir.Value:
        return register(model, f"{name}/{suffix}", array)

    def add(operator: str, inputs: list[ir.Value | None], attributes: tuple[ir.Attr, ...] = ()) -> ir.Value:
        made.append(ir.Node("", operator, inputs, attributes, name=f"{name}/{operator}_{len(made)}"))
        made[-1].outputs[0].name = made[-1].name
        return made[-1].outputs[0]

    made = list[ir.Node]()
    first, second = scale, bias
    if per_channel:
        first, second = stored("ones", np.ones(groups, np.float32)), stored("zeros", np.zeros(groups, np.float32))
    epsilon = tuple(attribute for key, attribute in node.attributes.items() if key == "epsilon")
    grouped = add("Reshape", [x, stored("groups", np.array([0, groups, -1], np.int64))])
    result = add(
        "Reshape",
        [add("InstanceNormalization", [grouped, first, second], epsilon), stored("shape", np.array(shape, np.int64))],
    )
    if per_channel:
        axes = stored("axes", np.array([-1, *[1] * (len(shape) - 2)], np.int64))
        scaled = add("Mul", [result, add("Reshape", [scale, axes])])
        result = add("Add", [scaled, add("Reshape", [bias, axes])])
    result.shape, result.type = output.shape, output.type
    ir.convenience.replace_nodes_and_values(model.graph, node, [node], made, [output], [result])
