"""Rule 10: native LayerNormalization, and LayerNorm and softmax in FP32."""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import input_at
from compile.tensorrt_checks.rules.view import View, name_of, producer, tensor_of

NAME = "native-norm"
DECOMPOSED = (
    "the squares of a decomposed LayerNorm overflow in FP16, and nothing tells TensorRT to keep them in FP32 (a peer's "
    "Swin-T lost 5 AP to it)"
)
NARROW = "{operator} sums in FP16: its sum overflows above 65,504 and its differences cancel"


def check(view: View) -> Iterator[Finding]:
    """Look for x − mean over the root of its mean square, and at the type of the native operators."""
    for node in view.each("Div"):
        if mean_of(node) is not None:
            fix = "export at opset 17 or above, where LayerNormalization is one operator"
            yield _finding(node, tensor_of(input_at(node, 0)), DECOMPOSED, fix)
    for node in view.each("LayerNormalization", "Softmax"):
        value = input_at(node, 0)
        if value is not None and value.dtype == ir.DataType.FLOAT16:
            fix = "Cast to FP32 before it and back behind it"
            yield _finding(node, tensor_of(value), NARROW.format(operator=node.op_type), fix)


def mean_of(node: ir.Node) -> ir.Node | None:
    """Return the mean that a Div ends the LayerNorm of: Div(Sub(x, mean), Sqrt(Add(mean square of it, ε)))."""
    centred, root = producer(input_at(node, 0), "Sub"), producer(input_at(node, 1), "Sqrt")
    mean = None if centred is None else producer(input_at(centred, 1), "ReduceMean")
    total = None if root is None else producer(input_at(root, 0), "Add")
    if centred is None or mean is None or total is None:
        return None
    parts = [producer(part, "ReduceMean") for part in total.inputs]
    squares = [producer(input_at(part, 0), "Mul", "Pow") for part in parts if part is not None]
    return mean if any(square is not None and _squares(square, centred.outputs[0]) for square in squares) else None


def _squares(square: ir.Node, centred: ir.Value) -> bool:
    """Say whether a Mul or Pow squares x − mean, perhaps one computed twice or cast."""
    base = input_at(square, 0)
    cast = producer(base, "Cast")
    base = base if cast is None else input_at(cast, 0)
    again, node = producer(base, "Sub"), centred.producer()
    same = again is not None and node is not None and list(again.inputs) == list(node.inputs)
    return base is centred or same


def _finding(node: ir.Node, tensor: str, effect: str, fix: str) -> Finding:
    return Finding(rule=NAME, severity="warning", node=name_of(node), tensor=tensor, effect=effect, fix=fix)
