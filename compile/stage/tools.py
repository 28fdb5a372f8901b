"""The stages: the module of each, and the distributions that its answer depends on, part of its key and of its record."""

from types import MappingProxyType
from typing import NamedTuple


class StageCode(NamedTuple):
    """What computes a stage's answer; ``module`` is its name below ``compile``, for a full name would count as an import."""

    module: str
    tools: tuple[str, ...]


STAGES: MappingProxyType[str, StageCode] = MappingProxyType(
    {
        "export": StageCode("export", ("torch", "safetensors", "onnx", "onnx-ir", "onnxscript", "onnxruntime")),
        "simplify": StageCode("simplify", ("onnx", "onnxsim", "onnxruntime")),
        "fold": StageCode("fold", ("torch", "numpy", "scipy", "onnx", "onnx-ir", "onnxscript", "onnxruntime")),
        "rewrite": StageCode("rewrite", ("onnx", "onnx-ir", "onnxscript", "onnxruntime")),
        "calibrate": StageCode("quantization.nncf_calibration", ("nncf", "onnx", "onnxruntime", "openvino")),
        "quantize": StageCode("quantize", ("nncf", "onnx", "onnx-ir", "openvino", "onnxruntime")),
        "search": StageCode(
            "quantization.mixed_precision", ("nncf", "onnx", "onnx-ir", "openvino", "onnxruntime", "numpy")
        ),
        "build": StageCode("build", ("openvino", "onnxruntime", "tensorrt", "tensorrt-rtx-cu13")),
        "vectors": StageCode("evaluation.vectors", ("torch", "numpy")),
        "judge": StageCode("evaluation.judge", ("openvino", "onnxruntime", "torch", "numpy")),
    }
)
