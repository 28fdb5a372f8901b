"""Graphs for the tests of passes, written as ONNX text, and a run of them in ONNX Runtime as the operators are defined."""

from collections import Counter

import numpy as np
import onnx_ir as ir
import onnxruntime

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'


def graph(text: str) -> ir.Model:
    """Parse ONNX text without its header."""
    return ir.from_onnx_text(HEADER + text)


def operators(model: ir.Model) -> Counter[str]:
    """Count the nodes by operator."""
    return Counter(node.op_type for node in model.graph)


def run(model: ir.Model, **feed: np.ndarray) -> list[np.ndarray]:
    """Run a graph with every optimization off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    text = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feed))
