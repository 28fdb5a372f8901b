"""The stages: the module of each, and the distributions that its answer depends on, part of its key and of its record."""

from types import MappingProxyType
from typing import NamedTuple

from targets.target_profile import read_profiles


class StageCode(NamedTuple):
    """What computes a stage's answer; ``module`` is its name below ``compile``, for a full name would count as an import."""

    module: str
    tools: tuple[str, ...]


RUNTIMES = tuple(sorted({name for profile in read_profiles().values() for name in profile.distributions}))
"""What any target runs graphs with."""
STAGES: MappingProxyType[str, StageCode] = MappingProxyType(
    {
        "export": StageCode("export", ("torch", "safetensors", "onnx", "onnx-ir", "onnxscript", "onnxruntime")),
        "import": StageCode("import_network", ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime")),
        "simplify": StageCode("simplify", ("onnx", "onnxsim", "onnxruntime")),
        "fold": StageCode("fold", ("torch", "numpy", "scipy", "onnx", "onnx-ir", "onnxscript", "onnxruntime")),
        "rewrite": StageCode("rewrite", ("onnx", "onnx-ir", "onnxscript", "onnxruntime")),
        "calibrate": StageCode("quantization.nncf_calibration", ("nncf", "onnx", *RUNTIMES)),
        "quantize": StageCode("quantize", ("nncf", "onnx", "onnx-ir", *RUNTIMES)),
        "search": StageCode("quantization.mixed_precision", ("nncf", "onnx", "onnx-ir", "numpy", *RUNTIMES)),
        "trial": StageCode("quantization.trials", ("numpy", *RUNTIMES)),
        "layers": StageCode("quantization.sensitivity", ("onnx", "onnx-ir", "numpy", *RUNTIMES)),
        "build": StageCode("build", RUNTIMES),
        "vectors": StageCode("evaluation.vectors", ("torch", "numpy")),
        "images": StageCode("evaluation.judged_images", ("numpy", *RUNTIMES)),
        "judge": StageCode("evaluation.judge", ("torch", "numpy", *RUNTIMES)),
    }
)
