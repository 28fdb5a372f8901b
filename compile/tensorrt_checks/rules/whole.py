"""Rule 5: quantize every input of a weighted operator; quantize its output only where the consumer is INT8."""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import WEIGHTED, is_constant, is_standard
from compile.graphs.quantizers import DEQUANTIZE, QUANTIZE, quantizer_of
from compile.tensorrt_checks.rules.view import View, beyond, name_of, quantized, tensor_of
from compile.tensorrt_checks.rules.weights import is_dequantized

NAME = "whole-operator"
# What has INT8 kernels, or fuses with a neighbour that has: a Q/DQ pair before any of these may pay.
TAKES_INT8 = WEIGHTED | {"Add", "AveragePool", "GlobalAveragePool", "Resize", "Sum", QUANTIZE}
HALF = "{operator} runs in float: {float} is not quantized, so the Q/DQ on {other} only costs accuracy and a kernel"
ALONE = "no consumer runs in INT8 ({consumers}): the pair only rounds the tensor, and costs a kernel"


def check(view: View) -> Iterator[Finding]:
    """Look at the inputs of weighted operators, and at what reads each quantized activation."""
    for node in view.each(*WEIGHTED):
        yield from _inputs(node)
    for node in view.each(DEQUANTIZE):
        if quantizer_of(node) is not None and not is_constant(node.inputs[0]):
            yield from _consumers(node)


def _inputs(node: ir.Node) -> Iterator[Finding]:
    values = node.inputs[:2]
    missing = [value for value in values if quantized(value) is None and not is_dequantized(value)]
    if len(missing) != 1:
        return
    [other] = [value for value in values if value is not missing[0]] or [missing[0]]
    effect = HALF.format(operator=node.op_type, float=tensor_of(missing[0]), other=tensor_of(other))
    fix = "quantize that input too, or leave the whole operator in float"
    yield _finding(node, tensor_of(missing[0]), effect, fix)


def _consumers(node: ir.Node) -> Iterator[Finding]:
    found = [reader for reader, _ in beyond(node.outputs[0])]
    if any(is_standard(reader) and reader.op_type in TAKES_INT8 for reader in found):
        return
    names = ", ".join(sorted({reader.op_type for reader in found})) or "a graph output"
    effect, fix = ALONE.format(consumers=names), "leave the tensor in float"
    yield _finding(node, tensor_of(node.outputs[0]), effect, fix)


def _finding(node: ir.Node, tensor: str, effect: str, fix: str) -> Finding:
    return Finding(rule=NAME, severity="warning", node=name_of(node), tensor=tensor, effect=effect, fix=fix)
