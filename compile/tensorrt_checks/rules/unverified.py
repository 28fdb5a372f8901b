"""What TensorRT for RTX takes and nothing promises for the version that is asked about."""

from collections.abc import Iterator

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import input_at
from compile.tensorrt_checks.rules import operators, weights
from compile.tensorrt_checks.rules.view import UNVERIFIED, View, name_of, quantized, tensor_of

NAME = UNVERIFIED
TRANSPOSED = (
    "not verified on TensorRT {version}: TensorRT-RTX 1.7.1 runs a quantized ConvTranspose in float, whatever the axis of its "
    "scales (NVIDIA's toolkits write 0, its guide names the output channels, 1)"
)


def check(view: View) -> Iterator[Finding]:
    """Yield weights whose DQ is carried, types that no document lists, and INT8 ConvTransposes."""
    yield from weights.unverified(view)
    yield from operators.unverified(view)
    for node in view.each("ConvTranspose"):
        weight = input_at(node, 1)
        if quantized(input_at(node, 0)) and quantized(weight):
            effect = TRANSPOSED.format(version=view.table.version)
            yield Finding(
                rule=NAME,
                severity="warning",
                node=name_of(node),
                tensor=tensor_of(weight),
                effect=effect,
                fix="leave the operator in float",
            )
