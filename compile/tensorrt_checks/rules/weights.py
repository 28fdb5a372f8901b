"""Rule 4: a weight's DQ feeds the weighted operator directly; a Transpose, Mul or the like between them is in the way."""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import WEIGHTED, is_constant, is_standard
from compile.graphs.quantizers import DEQUANTIZE
from compile.tensorrt_checks.rules.view import View, name_of, tensor_of

NAME = "adjacent-weight"
BETWEEN = frozenset(
    {"Cast", "Div", "Expand", "Flatten", "Identity", "Mul", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
EFFECT = (
    "the weight's DQ is no neighbour of {consumer} ({between} between them): the operator runs in float on a weight "
    "rounded to INT8, or no kernel is found and the build fails"
)
FIX = "do {between} on the weight before it is quantized (the pass move_weight_dequantization)"


def check(view: View) -> Iterator[Finding]:
    """Look at what reads every DQ of a constant."""
    for node in view.each(DEQUANTIZE):
        if is_constant(node.inputs[0]):
            for between, consumer in paths(node.outputs[0], ()):
                names = ", ".join(between)
                yield Finding(
                    rule=NAME,
                    severity="error",
                    node=name_of(node),
                    tensor=tensor_of(node.outputs[0]),
                    effect=EFFECT.format(consumer=name_of(consumer), between=names),
                    fix=FIX.format(between=names),
                )


def paths(value: ir.Value, passed: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], ir.Node]]:
    """Yield (operators between, weighted operator) for each weighted operator a value reaches, not straight."""
    for reader, index in value.uses():
        if not is_standard(reader):
            continue
        if reader.op_type in WEIGHTED:
            if passed and index < 2:
                yield passed, reader
        elif reader.op_type in BETWEEN:
            others = [other for other in reader.inputs if other is not value]
            if all(other is None or is_constant(other) for other in others):
                yield from paths(reader.outputs[0], (*passed, reader.op_type))
