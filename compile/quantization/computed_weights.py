"""Convolutions whose weights the graph computes, as a task's filters for an image: NNCF 3.4 ends with a fault at one.

While NNCF works, each has a name that it does not know, and that ONNX Runtime runs as the same convolution.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from compile.graphs.torch_export import NATIVE

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

CONVOLUTION = "Conv"
DOMAIN, NAME = "com.microsoft", "FusedConv"
TRANSPARENT = ("Identity", "Transpose", "Reshape", "QuantizeLinear", "DequantizeLinear")
"""The operators through which NNCF finds a weight's constant."""


def hide(model: "ModelProto") -> "ModelProto":
    """Return the model with each such convolution under the other name; the model itself if there is none."""
    from onnx import helper, shape_inference

    if not any(_computed(model)):
        return model
    hidden = shape_inference.infer_shapes(model)  # nothing infers what follows an unknown operator
    for node in list(_computed(hidden)):
        node.op_type, node.domain = NAME, DOMAIN
    hidden.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return hidden


def show(model: "ModelProto") -> None:
    """Give the convolutions their own name again, in place."""
    for node in model.graph.node:
        if (node.domain, node.op_type) == (DOMAIN, NAME):
            node.op_type, node.domain = CONVOLUTION, NATIVE
    kept = [opset for opset in model.opset_import if opset.domain != DOMAIN]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _computed(model: "ModelProto") -> "Iterator[NodeProto]":
    """Yield the convolutions whose weights come from no constant."""
    constants = {tensor.name for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == CONVOLUTION and node.domain == NATIVE:
            name = node.input[1]
            while name in makers and makers[name].op_type in TRANSPARENT:
                name = makers[name].input[0]
            if name not in constants and not (name in makers and makers[name].op_type == "Constant"):
                yield node
