"""What TensorRT for RTX takes and nothing promises for the version that is asked about."""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import input_at
from compile.tensorrt_checks.rules import operators, weights
from compile.tensorrt_checks.rules.limits import branch_ranks, is_from_shapes
from compile.tensorrt_checks.rules.view import UNVERIFIED, View, name_of, quantized, tensor_of

NAME = UNVERIFIED
TRANSPOSED = (
    "not verified on TensorRT {version}: TensorRT-RTX 1.7.1 runs a quantized ConvTranspose in float, whatever the axis of its "
    "scales (NVIDIA's toolkits write 0, its guide names the output channels, 1)"
)

CHOSEN = (
    "not verified on TensorRT {version}: the branches of this If give {first} and {second} axes, and TensorRT-RTX 1.7.1 chooses "
    "one when it knows the sizes that the condition is made of"
)


def check(view: View) -> Iterator[Finding]:
    """Yield carried weights, types that no document lists, INT8 ConvTransposes, and branches that sizes choose."""
    yield from weights.unverified(view)
    yield from operators.unverified(view)
    for node in view.each("ConvTranspose"):
        weight = input_at(node, 1)
        if quantized(input_at(node, 0)) and quantized(weight):
            effect = TRANSPOSED.format(version=view.table.version)
            yield _finding(node, tensor_of(weight), effect, "leave the operator in float")
    for node in view.each("If"):
        ranks = branch_ranks(node)
        if ranks and is_from_shapes(input_at(node, 0)):
            effect = CHOSEN.format(version=view.table.version, first=ranks[0], second=ranks[-1])
            yield _finding(node, "", effect, "export with fixed shapes and axes, which leaves no If")


def _finding(node: ir.Node, tensor: str, effect: str, fix: str) -> Finding:
    return Finding(rule=NAME, severity="warning", node=name_of(node), tensor=tensor, effect=effect, fix=fix)
