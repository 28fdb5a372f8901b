"""Rule 6: where an INT8 operator's result meets a residual connection, the skip input is quantized, so that they fuse."""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import WEIGHTED, input_at, is_constant, shape_of
from compile.tensorrt_checks.rules.view import View, name_of, producer, quantized, tensor_of

NAME = "residual-input"
EFFECT = "{operator} and this Add are two kernels: with the skip input in float, the INT8 kernel writes float and the sum reads it"
FIX = "quantize the skip input (the pass quantize_residual_inputs where its scale is known), or accept the kernel"


def check(view: View) -> Iterator[Finding]:
    """Look at every Add of two activations of one shape."""
    for node in view.each("Add", "Sum"):
        for operator, skip in skips(node):
            effect = EFFECT.format(operator=name_of(operator))
            yield Finding(
                rule=NAME, severity="warning", node=name_of(node), tensor=tensor_of(skip), effect=effect, fix=FIX
            )


def skips(node: ir.Node) -> Iterator[tuple[ir.Node, ir.Value]]:
    """Yield (INT8 operator, float skip input) where an Add of two activations breaks the rule; at most once."""
    if len(node.inputs) != 2 or any(value is None or is_constant(value) for value in node.inputs):
        return
    left, right = node.inputs
    if left is None or right is None or shape_of(left) is None or shape_of(left) != shape_of(right):
        return
    for main, skip in ((left, right), (right, left)):
        operator = int8_operator(main)
        if operator is not None and quantized(skip) is None:
            yield operator, skip
            return


def int8_operator(value: ir.Value) -> ir.Node | None:
    """Return the INT8 weighted operator that a value comes from, with or without its bias added."""
    node = producer(value, *WEIGHTED, "Add")
    if node is not None and node.op_type == "Add":
        live = [part for part in node.inputs if not is_constant(part)]
        node = producer(live[0], *WEIGHTED) if len(live) == 1 else None
    if node is None:
        return None
    return node if quantized(input_at(node, 0)) and quantized(input_at(node, 1)) else None
