"""Graphs for the tests of rules: one that keeps every rule, and the means to break one of them."""

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding
from compile.tensorrt_checks.run import lint_model

SIZE = 32


def many(value: float | int, count: int = SIZE) -> str:
    """An initializer's values in ONNX text, all the same."""
    return "{" + ", ".join([str(value)] * count) + "}"


def eye(size: int = SIZE) -> str:
    """A square int8 weight."""
    return "{" + ", ".join("100" if i % (size + 1) == 0 else "3" for i in range(size * size)) + "}"


def parse(text: str, opset: int = 20) -> ir.Model:
    """Parse ONNX text without its header."""
    return ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : {opset}]>\n{text}')


def lint(text: str, opset: int = 20) -> list[Finding]:
    """Return what the rules say about ONNX text without its header."""
    return list(lint_model(parse(text, opset), "made").findings)


def broken(text: str, opset: int = 20) -> list[str]:
    """Return the names of the rules that a graph breaks, each once, in order."""
    return list(dict.fromkeys(finding.rule for finding in lint(text, opset)))


# x is quantized per tensor, w per output channel, b stays float; the result is float.
GOOD = f"""
g (float[64,{SIZE}] x) => (float[64,{SIZE}] y)
<float s = {{0.02}}, int8 z = {{0}}, int8[{SIZE},{SIZE}] w = {eye()}, float[{SIZE}] ws = {many(0.01)},
 int8[{SIZE}] wz = {many(0)}, float[{SIZE}] b = {many(0.5)}>
{{
    q = QuantizeLinear (x, s, z)
    d = DequantizeLinear (q, s, z)
    v = DequantizeLinear <axis = 1> (w, ws, wz)
    m = MatMul (d, v)
    y = Add (m, b)
}}
"""
