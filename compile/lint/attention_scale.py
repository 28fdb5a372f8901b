"""Rule 8: the attention scale is applied before the first batched product, not to its result."""

from collections.abc import Iterator

import onnx_ir as ir

from compile.lint.view import View, is_constant, is_standard, name_of, place, producer, tensor_of
from compile.passes.base import constant
from report.legal import Finding

NAME = "attention-scale"
BEFORE_SOFTMAX = frozenset({"Add", "Cast", "Identity", "Reshape", "Where"})
EFFECT = (
    "the logits are larger by the inverse of the scale than they need to be: FP16 overflows earlier, and TensorRT's fused "
    "attention kernel does not match"
)
MEND = "scale the query first (the pass scale_query_first), or fold the scale into its projection"


def check(view: View) -> Iterator[Finding]:
    """Look at every Mul and Div by one constant number between a batched product and a softmax."""
    for node in view.each("Mul", "Div"):
        product = scaled_product(node)
        if product is not None:
            yield Finding(
                rule=NAME, severity="warning", node=name_of(node), tensor=tensor_of(product.outputs[0]), effect=EFFECT,
                mend=MEND,
            )  # fmt: skip


def scaled_product(node: ir.Node) -> ir.Node | None:
    """Return the batched product whose result a Mul or Div scales on its way to a softmax; None if it is no such node."""
    for index in (0, 1) if node.op_type == "Mul" else (0,):
        product, number = producer(place(node, index), "MatMul"), constant(place(node, 1 - index))
        if product is None or number is None or number.size != 1 or any(is_constant(part) for part in product.inputs):
            continue
        if reaches_softmax(node.outputs[0]):
            return product
    return None


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
