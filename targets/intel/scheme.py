"""How NNCF quantizes an OpenVINO graph for an Intel device."""

from targets.base import Capabilities, QuantizationScheme, VariantRecipe
from targets.intel.runtime import may_use_cpu
from targets.isa import accumulates_int8_exactly
from targets.scheme import GATE, REASONS


def scheme(capabilities: Capabilities) -> QuantizationScheme:
    """Choose the scheme; only the overflow fix depends on the device."""
    exact = accumulates_int8_exactly(capabilities.isa) or not may_use_cpu(capabilities.device)
    reason = (
        "uint8 × int8 products are summed in 32 bits here (VNNI, AMX, GPU or NPU)"
        if exact
        else "vpmaddubsw sums pairs of products in 16 bits and saturates: weights keep to half their range"
    )
    return QuantizationScheme(
        preset="performance",
        model_type="transformer",
        smooth_quant_alpha="off",
        fast_bias_correction=True,
        overflow_fix="disable" if exact else "enable",
        thin_below=0,
        heads="int8",
        per_channel_depthwise_activations=True,
        ignored=(GATE,),
        reasons=REASONS
        | {
            "overflow_fix": reason,
            "thin_below": "OpenVINO has INT8 kernels for every GEMM size, and falls back to float by itself",
            "heads": "an INT8 convolution is one kernel with its activation, and writes what the next one reads",
            "per_channel_depthwise_activations": "OpenVINO runs them, and depthwise channels differ widely in range",
        },
    )


def variants(capabilities: Capabilities) -> tuple[VariantRecipe, ...]:
    """Offer what the device computes natively: f32 or, where there is none, f16 first; INT8 last.

    A CPU without AMX-FP16 is not offered f16: it multiplies half as fast as f32 (docs/decisions/0303).
    """
    slow = {"f16"} if may_use_cpu(capabilities.device) and "amx_fp16" not in capabilities.isa else set()
    native = [name for name in capabilities.precisions if name not in slow]
    rest = "f32" if "f32" in native else "f16"
    beside = (
        "bf16" if "bf16" in native else rest
    )  # what a quantized graph computes its other layers in: docs/decisions/0313
    offers = (
        VariantRecipe(name="f32", graph="float", hint="f32", reason="the plain graph, float32 throughout"),
        VariantRecipe(
            name="bf16", graph="float", hint="bf16", reason="the device multiplies in bfloat16; the graph stays float32"
        ),
        VariantRecipe(
            name="f16", graph="float", hint="f16", reason="the device multiplies in float16; the graph stays float32"
        ),
        VariantRecipe(
            name="int8_weights", graph="weights", hint=rest, reason=f"weights stored as INT8, computed with in {rest}"
        ),
        VariantRecipe(
            name="int8", graph="quantized", hint=beside, reason=f"quantized layers in INT8, the others in {beside}"
        ),
    )
    return tuple(offer for offer in offers if offer.name.partition("_")[0] in native)
