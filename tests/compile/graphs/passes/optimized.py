"""What ONNX Runtime makes of a graph with all its optimizations on."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnx_ir as ir
import onnxruntime


def optimized(model: ir.Model) -> Counter[str]:
    """Count the operators that run, by name."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(
            ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
