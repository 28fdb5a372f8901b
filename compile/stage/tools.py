"""The distributions that each stage's answer depends on, by the stage's name: part of its key in the store, and of its record."""

from types import MappingProxyType

TOOLS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "export": ("torch", "safetensors", "onnx", "onnx-ir", "onnxscript", "onnxruntime"),
        "simplify": ("onnx", "onnxsim", "onnxruntime"),
        "fold": ("torch", "numpy", "scipy", "onnx", "onnx-ir", "onnxscript", "onnxruntime"),
        "rewrite": ("onnx", "onnx-ir", "onnxruntime"),
        "quantize": ("nncf", "onnx", "onnx-ir", "openvino", "onnxruntime"),
        "search": ("nncf", "onnx", "onnx-ir", "openvino", "onnxruntime", "numpy"),
        "build": ("openvino", "onnxruntime", "tensorrt", "tensorrt-rtx-cu13"),
        "vectors": ("torch", "numpy"),
        "judge": ("openvino", "onnxruntime", "torch", "numpy"),
    }
)
