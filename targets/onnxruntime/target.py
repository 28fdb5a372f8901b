"""The onnxruntime target: ONNX Runtime on any CPU, in float32 or with Q/DQ graphs that it fuses into integer kernels."""

from pathlib import Path

from targets.base import (
    Capabilities,
    EngineBuilt,
    Execute,
    QuantizationScheme,
    RunConfig,
    Session,
    Target,
    Variant,
    VariantRecipe,
)
from targets.isa import accumulates_int8_exactly
from targets.reference.session import capabilities_for, open_graph
from targets.scheme import GATE, REASONS

F32 = VariantRecipe(name="f32", graph="float", hint="f32", reason="the plain graph, float32 throughout")
INT8 = VariantRecipe(
    name="int8", graph="quantized", hint="f32", reason="Q/DQ around products and convolutions, the others in float32"
)


class OnnxRuntime(Target):
    """ONNX Runtime's CPU provider with its optimizations on: Q/DQ pairs become QGemm, QLinearConv, MatMulIntegerToFloat."""

    name = "onnxruntime"

    @property
    def fusing_passes(self) -> tuple[str, ...]:
        """Put a pair beside each product and quantize biases: what ONNX Runtime fuses."""
        return ("repeat_quantizers", "quantize_biases")

    def capabilities(self, run: RunConfig) -> Capabilities:
        """Describe the CPU.

        Raises:
            TargetUnavailable: another device is asked for, or ONNX Runtime is not installed.
        """
        return capabilities_for(self.name, run)

    def variants(self, capabilities: Capabilities) -> tuple[VariantRecipe, ...]:
        """Offer both whatever the CPU: without VNNI, INT8 may be slower, which the measurement says."""
        return (F32, INT8)

    def scheme(self, capabilities: Capabilities) -> QuantizationScheme:
        """Choose the scheme; only the overflow fix depends on the CPU."""
        exact = accumulates_int8_exactly(capabilities.isa)
        return QuantizationScheme(
            preset="mixed",
            model_type="transformer",
            smooth_quant_alpha="off",
            fast_bias_correction=True,
            overflow_fix="disable" if exact else "enable",
            thin_below=0,
            heads="int8",
            per_channel_depthwise_activations=False,
            ignored=(GATE,),
            reasons=REASONS
            | {
                "preset": "uint8 activations with a zero-point: as fast as symmetric ones (docs/decisions/0317), and they use the full range",
                "overflow_fix": "products are summed in 32 bits here (VNNI, AMX, NEON's dot product)"
                if exact
                else "vpmaddubsw sums pairs of products in 16 bits and saturates: weights keep to half their range",
                "thin_below": "thin products were not slower in INT8 (docs/decisions/0317)",
                "heads": "a 1×1 convolution in INT8 was faster than in float (docs/decisions/0317)",
                "per_channel_depthwise_activations": "QLinearConv takes one scale per activation",
            },
        )

    def build(self, folder: Path, variants: tuple[Variant, ...], run: RunConfig) -> EngineBuilt:
        """Need no engine stored: ONNX Runtime optimizes a graph each time it is opened.

        Raises:
            GraphError: ONNX Runtime refuses a graph.
        """
        return self.opened_once(folder, variants, run)

    def open(self, folder: Path, variant: Variant, run: RunConfig, execute: Execute, *, keep: Path) -> Session:
        """Load a variant's graph with all optimizations.

        Raises:
            TargetUnavailable: emulation is asked for, or ONNX Runtime is not installed.
            GraphError: ONNX Runtime refuses the graph.
        """
        path = folder / variant.files[0]
        return open_graph(self.name, path, variant.recipe.name, run, execute, optimizations=True)


ONNXRUNTIME = OnnxRuntime()
