"""The reference target: it runs the graph as it is, quantizes nothing and needs no engine."""

from pathlib import Path

from bundle.base.errors import InputError
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
from targets.reference.session import capabilities_for, open_graph

F32 = VariantRecipe(name="f32", graph="float", hint="f32", reason="the oracle for graphs computes in float32")


class Reference(Target):
    """ONNX Runtime on the CPU."""

    name = "reference"

    def capabilities(self, run: RunConfig) -> Capabilities:
        """Describe the CPU.

        Raises:
            TargetUnavailable: another device is asked for, or ONNX Runtime is not installed.
        """
        return capabilities_for(self.name, run)

    def variants(self, capabilities: Capabilities) -> tuple[VariantRecipe, ...]:
        """Offer float32 only."""
        return (F32,)

    def rewrites(self, capabilities: Capabilities) -> tuple[str, ...]:
        """Name none: an oracle runs the graph as it is."""
        return ()

    def scheme(self, capabilities: Capabilities) -> QuantizationScheme:
        """Refuse: an oracle has nothing to gain from INT8.

        Raises:
            InputError: always.
        """
        raise InputError(
            "the reference is never quantized",
            expected="a device target",
            got="reference",
            where="the target of quantize",
            fix="choose another --target",
        )

    def build(self, folder: Path, variants: tuple[Variant, ...], run: RunConfig) -> EngineBuilt:
        """Need nothing: ONNX Runtime loads the graph itself."""
        return EngineBuilt(variants=variants, files=(), settings={})

    def open(self, folder: Path, variant: Variant, run: RunConfig, execute: Execute, *, keep: Path) -> Session:
        """Load the graph; one with Q/DQ nodes runs with optimizations off, which is its exact meaning.

        Raises:
            TargetUnavailable: emulation is asked for, or ONNX Runtime is not installed.
        """
        exact = variant.recipe.graph == "quantized"
        path = folder / variant.files[0]
        return open_graph(self.name, path, variant.recipe.name, run, execute, optimizations=not exact)


REFERENCE = Reference()
