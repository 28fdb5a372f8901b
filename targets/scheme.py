"""The choices both devices share: what stays in float whatever the device, and why."""

from targets.base import IgnoredPattern, QuantizationScheme

# Names are ONNX node names in the ONNX backend and ONNX value names in the OpenVINO backend; both carry module scopes.
GATE = IgnoredPattern(
    pattern=r"(.*[./_])?gates?([./_].*)?",
    reason="a gate is one vector per image: quantizing it saves nothing and multiplies its error into every channel",
)
REASONS = {
    "preset": "symmetric activations: the mixed preset gives non-zero zero-points, which TensorRT refuses",
    "model_type": "keeps residual adds, LayerNorm, softmax and GELU internals in float, as a transformer needs",
    "smooth_quant_alpha": "SmoothQuant costs accuracy on Swin (NNCF's own table: Swin-B 83.57 with it, 85.21 without); tried where plain INT8 breaks a budget",
    "fast_bias_correction": "corrects the mean shift of each layer from statistics already collected; the exact one costs an inference per layer",
}
SMOOTH_ALPHA = 0.95  # NNCF's own default where SmoothQuant is on


def smoothed(scheme: QuantizationScheme) -> QuantizationScheme:
    """Return a scheme with SmoothQuant on: what is tried where plain INT8 breaks a task's budget."""
    reason = "plain INT8 broke a budget: SmoothQuant takes the range of an outlier channel into the weights behind it"
    return scheme.model_copy(
        update={"smooth_quant_alpha": SMOOTH_ALPHA, "reasons": scheme.reasons | {"smooth_quant_alpha": reason}}
    )
