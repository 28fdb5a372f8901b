"""Operators of an OpenVINO graph that go back to float: their FakeQuantize nodes and INT8 weights are taken out.

before   y = op(FakeQuantize(x), w₈·s) + b'
after    y = op(x, w) + b                       w and b those of the float graph
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from bundle.base.errors import GraphError
from targets.intel.runtime import import_openvino

if TYPE_CHECKING:
    from openvino import Model, Node, Output

MOVES = frozenset(
    {
        "Broadcast",
        "Concat",
        "Gather",
        "Pad",
        "Reshape",
        "Split",
        "Squeeze",
        "StridedSlice",
        "Slice",
        "Transpose",
        "Unsqueeze",
        "VariadicSplit",
        "Interpolate",
        "MaxPool",
    }
)
OPSET = "opset13"
WEIGHTED = frozenset({"Convolution", "ConvolutionBackpropData", "GroupConvolution", "MatMul"})


def dequantize_layers(model: "Model", original: "Model", names: Collection[str]) -> int:
    """Return to float, in place, the weighted operators called ``names``: ONNX names of nodes and of the values they compute,
    which OpenVINO keeps as friendly names, or with a suffix. Return how many they are.

    Raises:
        GraphError: the float graph has no such operator.
    """
    sources = {node.get_friendly_name(): node for node in original.get_ordered_ops()}
    changed = 0
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        if node.get_type_name() not in WEIGHTED or (name not in names and name.rpartition("/")[0] not in names):
            continue
        if name not in sources:
            raise GraphError(
                f"the float graph has no {name!r}",
                expected="the graph that was quantized",
                got="another one",
                where="the layers to return to float",
                fix="quantize again",
            )
        _restore(node, sources[name])
        changed += 1
    model.validate_nodes_and_infer_types()
    return changed


def operations_named(model: "Model", names: Collection[str]) -> list[str]:
    """Return the friendly names of the operations that are one of ``names``, or a part of one."""
    found = [operation.get_friendly_name() for operation in model.get_ordered_ops()]
    return [name for name in found if name in names or name.rpartition("/")[0] in names]


def _restore(node: "Node", source: "Node") -> None:
    copies: dict[str, Node] = {}
    for index in range(2):
        weight = _constant(source.input_value(index).get_node())
        output = _around(node.input_value(index), copies) if weight is None else weight.output(0)
        node.input(index).replace_source_output(output)
    _restore_bias(node, source)


def _around(output: "Output", copies: "dict[str, Node]") -> "Output":
    """Return what an output would be without the FakeQuantize nodes it comes through; what moves its elements is copied."""
    node = output.get_node()
    if node.get_type_name() == "FakeQuantize":
        return node.input_value(0)
    if not _quantized(node):
        return output
    name = node.get_name()
    if name not in copies:
        moved = _moved(node)
        inputs = [node.input_value(index) for index in range(node.get_input_size())]
        around = [_around(one, copies) for one in inputs[:moved]]
        factory = import_openvino().utils.node_factory.NodeFactory(OPSET)
        copies[name] = factory.create(node.get_type_name(), around + inputs[moved:], node.get_attributes())
    copied: Output = copies[name].output(output.get_index())
    return copied


def _moved(node: "Node") -> int:
    """Return how many of a node's inputs, the first ones, are data."""
    return node.get_input_size() if node.get_type_name() == "Concat" else 1


def _quantized(node: "Node") -> bool:
    """Say whether a node moves elements that a FakeQuantize before it quantized."""
    if node.get_type_name() == "FakeQuantize":
        return True
    if node.get_type_name() not in MOVES:
        return False
    return any(_quantized(node.input_value(index).get_node()) for index in range(_moved(node)))


def _restore_bias(node: "Node", source: "Node") -> None:
    """Give the Add behind an operator the bias of the float graph: NNCF shifted it to correct the quantized one."""
    adders = [_adder(one) for one in (node, source)]
    if None in adders:
        return
    adder, original = adders
    for index in range(2):
        bias = _constant(original.input_value(index).get_node()) if original is not None else None
        if bias is not None and adder is not None:
            adder.input(index).replace_source_output(bias.output(0))


def _adder(node: "Node") -> "Node | None":
    readers = [target.get_node() for target in node.output(0).get_target_inputs()]
    return readers[0] if len(readers) == 1 and readers[0].get_type_name() == "Add" else None


def _constant(node: "Node") -> "Node | None":
    """Return a constant's values as float32, also behind conversions; a Reshape of one, as a bias has, is returned itself.

    None is what is computed.
    """
    from targets.intel.runtime import import_openvino

    while node.get_type_name() in ("Convert", "Reshape") and node.input_value(0).get_node().get_type_name() in (
        "Constant",
        "Convert",
    ):
        if node.get_type_name() == "Reshape":
            return node
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant":
        return None
    array = node.get_data()
    constant: Node = import_openvino().opset13.constant(array.astype("float32"))
    return constant
