"""Rule 8: the attention scale is applied before the first batched product, not to its result."""

from collections.abc import Iterator

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.match import reason_against
from compile.graphs.nodes import is_constant
from compile.graphs.passes.scale_query_first import match, reaches_softmax, scaled_product
from compile.tensorrt_checks.rules.view import View, name_of, tensor_of

NAME = "attention-scale"
EFFECT = (
    "the logits are larger by the inverse of the scale than they need to be: FP16 overflows earlier, and NVIDIA's guide asks for "
    "the scale before the first product of a fused attention (TensorRT-RTX 1.7.1 fuses it behind, too; TensorRT 10.3 was not tried)"
)
FIX = "scale the query first (the pass scale_query_first), or fold the scale into its projection"
BY_HAND = "scale the query first or fold the scale into its projection; the pass scale_query_first does not: {reason}"


def check(view: View) -> Iterator[Finding]:
    """Look at every Mul and Div by one constant number between a batched product and a softmax."""
    for node in view.each("Mul", "Div"):
        product, _ = scaled_product(node)
        if product is None or any(is_constant(part) for part in product.inputs) or not reaches_softmax(node.outputs[0]):
            continue
        reason = reason_against(match, node)
        yield Finding(
            rule=NAME,
            severity="warning",
            node=name_of(node),
            tensor=tensor_of(product.outputs[0]),
            effect=EFFECT,
            fix=BY_HAND.format(reason=reason) if reason else FIX,
        )
