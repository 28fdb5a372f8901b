"""Rule 9: a Q or DQ scale has its data's type, and the opset knows that type."""

from collections.abc import Iterator

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.graphs.nodes import input_at
from compile.graphs.quantizers import DEQUANTIZE, QUANTIZE
from compile.tensorrt_checks.rules.symmetric import quantized_type
from compile.tensorrt_checks.rules.view import View, name_of, tensor_of

NAME = "typed-scales"
FIRST, FP16, BLOCKS = 13, 19, 21  # opsets: INT8 Q/DQ per channel, scales in FP16, INT4 and blocks
NARROW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
OLD = "opset {opset} has no {what}: the parser misreads or refuses it"


def check(view: View) -> Iterator[Finding]:
    """Look at the types around every Q and DQ node."""
    for node in view.each(QUANTIZE, DEQUANTIZE):
        scale = input_at(node, 1)
        kind = None if scale is None else scale.dtype
        yield from _opset(node, kind, view.opset)
        data = input_at(node, 0) if node.op_type == QUANTIZE else node.outputs[0]
        got = None if data is None else data.dtype
        if kind is not None and got is not None and kind != got:
            effect = f"a strongly typed network is rejected: the scale is {kind.name}, its data {got.name}"
            yield _finding(node, effect, f"give it a scale of type {got.name}")


def _opset(node: ir.Node, kind: ir.DataType | None, opset: int) -> Iterator[Finding]:
    small = quantized_type(node) in (ir.DataType.INT4, ir.DataType.UINT4)
    blocks = small or node.attributes.get("block_size") is not None
    needs = [(FIRST, "INT8 Q/DQ"), (FP16, "Q/DQ scales in FP16"), (BLOCKS, "INT4 or blocks")]
    for (least, what), used in zip(needs, (True, kind in NARROW, blocks), strict=True):
        if used and opset < least:
            yield _finding(node, OLD.format(opset=opset, what=what), f"write the graph at opset {least} or above")
            return


def _finding(node: ir.Node, effect: str, fix: str) -> Finding:
    tensor = tensor_of(input_at(node, 1))
    return Finding(rule=NAME, severity="error", node=name_of(node), tensor=tensor, effect=effect, fix=fix)
