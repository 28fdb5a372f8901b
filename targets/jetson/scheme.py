"""How NNCF quantizes an ONNX graph for TensorRT, and which precisions a Jetson is offered."""

from targets.base import Capabilities, QuantizationScheme, VariantRecipe
from targets.jetson.placement import FILE, read_placement
from targets.scheme import GATE, REASONS

F32 = VariantRecipe(
    name="f32",
    graph="float",
    hint="f32",
    reason="the plain graph, float32 throughout: what the others are judged beside",
)
F16 = VariantRecipe(
    name="f16",
    graph="fp16",
    hint="f16",
    reason="strongly typed: precision lives in the graph's casts; often the fastest for transformers",
)
INT8 = VariantRecipe(
    name="int8",
    graph="quantized",
    hint="f16",
    reason="explicit Q/DQ, the only quantization TensorRT 11 knows; what is not INT8 is FP16",
)


def scheme(capabilities: Capabilities) -> QuantizationScheme:
    """Return the one scheme for TensorRT; it does not depend on the device, so a host's bundle serves every Jetson."""
    return QuantizationScheme(
        preset="performance",
        model_type="transformer",
        smooth_quant_alpha="off",
        fast_bias_correction=True,
        overflow_fix="disable",
        thin_below=16,
        heads=read_placement().chosen.heads,
        per_channel_depthwise_activations=False,
        ignored=(GATE,),
        reasons=REASONS
        | {
            "overflow_fix": "tensor cores sum int8 products in 32 bits",
            "thin_below": "TensorRT wants K and N of 16 or more: thinner INT8 GEMMs run slower than their float form",
            "heads": f"{FILE}: the builder fuses an FP16 1×1 convolution with its activation, and writes an INT8 one's sums as float32",
            "per_channel_depthwise_activations": "TensorRT allows one scale per activation; its parser accepts more and is wrong",
        },
    )


def variants(capabilities: Capabilities) -> tuple[VariantRecipe, ...]:
    """Offer all three whatever the host: the device measures which one to ship."""
    return (F32, F16, INT8)
