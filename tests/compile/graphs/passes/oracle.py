"""A NumPy evaluation of typed graphs that shares nothing with ONNX Runtime or the passes.

Every operator is computed in float64 and its result rounded once to the type the graph states: FP16 to nearest, even,
beyond 65,504 to inf; Q to the integer range, half to even; float32 as it is.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

Array = np.ndarray


def _layer_norm(node: ir.Node, x: Array, scale: Array, bias: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + bias


def _softmax(node: ir.Node, x: Array) -> Array:
    raised = np.exp(x - x.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def _quantize(node: ir.Node, x: Array, scale: Array, zero: Array) -> Array:
    info = np.iinfo(np.int8)
    return np.clip(np.round(x / scale) + zero, info.min, info.max)


OPERATORS: dict[str, Callable[..., Array]] = {
    "Add": lambda node, a, b: a + b,
    "Mul": lambda node, a, b: a * b,
    "MatMul": lambda node, a, b: a @ b,
    "Relu": lambda node, a: np.maximum(a, 0),
    "Tanh": lambda node, a: np.tanh(a),
    "Transpose": lambda node, a: a.T,
    "Cast": lambda node, a: a,
    "LayerNormalization": _layer_norm,
    "Softmax": _softmax,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": lambda node, q, scale, zero: (q - zero) * scale,
}


def evaluate(model: ir.Model, **feed: Array) -> list[Array]:
    """Run a typed graph; each result is rounded to its value's type."""
    known = {name: array.astype(np.float64) for name, array in feed.items()}
    for value in model.graph.initializers.values():
        known[value.name] = value.const_value.numpy().astype(np.float64)
    for node in model.graph:
        inputs = [known[value.name] for value in node.inputs if value is not None]
        with np.errstate(over="ignore", invalid="ignore"):
            result = OPERATORS[node.op_type](node, *inputs)
            if node.outputs[0].dtype == ir.DataType.FLOAT16:
                result = result.astype(np.float16).astype(np.float64)
        known[node.outputs[0].name] = result
    return [known[value.name] for value in model.graph.outputs]
