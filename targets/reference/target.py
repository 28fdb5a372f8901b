"""The reference target: it runs the graph as it is, quantizes nothing and needs no engine."""

from pathlib import Path

from bundle.base.errors import InputError, TargetUnavailable
from targets.base import (
    Capabilities,
    EngineBuilt,
    Execute,
    QuantizationScheme,
    RunConfig,
    Session,
    SessionInfo,
    Target,
    Variant,
    VariantRecipe,
)
from targets.reference.session import OnnxRuntimeSession, cpu_capabilities

F32 = VariantRecipe(name="f32", graph="float", hint="f32", reason="the oracle for graphs computes in float32")


class Reference(Target):
    """ONNX Runtime on the CPU."""

    name = "reference"

    def capabilities(self, run: RunConfig) -> Capabilities:
        """Describe the CPU.

        Raises:
            TargetUnavailable: another device is asked for, or ONNX Runtime is not installed.
        """
        if run.device not in ("", "CPU"):
            raise TargetUnavailable(
                f"the reference does not run on {run.device!r}",
                expected="CPU",
                got=run.device,
                where="the device setting",
                fix="leave the device out",
            )
        return cpu_capabilities()

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
            fix="choose --target intel or jetson",
        )

    def build(self, folder: Path, variants: tuple[Variant, ...], run: RunConfig) -> EngineBuilt:
        """Need nothing: ONNX Runtime loads the graph itself."""
        return EngineBuilt(variants=variants, files=(), settings={})

    def open(self, folder: Path, variant: Variant, run: RunConfig, execute: Execute, *, keep: Path) -> Session:
        """Load the graph; one with Q/DQ nodes runs with optimizations off, which is its exact meaning.

        Raises:
            TargetUnavailable: emulation is asked for, or ONNX Runtime is not installed.
        """
        if execute == "emulation":
            raise TargetUnavailable(
                "the reference emulates nothing",
                expected="--execute auto or device",
                got="emulation",
                where="the execute setting",
                fix="leave --execute out",
            )
        info = SessionInfo(
            target=self.name,
            capabilities=self.capabilities(run),
            precision=variant.recipe.name,
            executed_on="device",
            settings={},
        )
        exact = variant.recipe.graph == "quantized"
        return OnnxRuntimeSession(folder / variant.files[0], info, optimizations=not exact, threads=run.threads)


REFERENCE = Reference()
