"""Graphs for the tests of passes, written as ONNX text, and a run of them in ONNX Runtime as the operators are defined."""

from collections import Counter

import numpy as np
import onnx_ir as ir
import onnxruntime
from onnx_ir.passes.common import ShapeInferencePass

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'


def graph(text: str, opset: int = 20) -> ir.Model:
    """Parse ONNX text without its header."""
    return ir.from_onnx_text(HEADER.replace("20", str(opset)) + text)


def shaped(text: str) -> ir.Model:
    """Parse ONNX text and infer every shape, as an exported graph has them."""
    return ShapeInferencePass()(graph(text)).model


def operators(model: ir.Model) -> Counter[str]:
    """Count the nodes by operator."""
    return Counter(node.op_type for node in model.graph)


def run(model: ir.Model, **feed: np.ndarray) -> list[np.ndarray]:
    """Run a graph with every optimization off."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    text = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feed))
