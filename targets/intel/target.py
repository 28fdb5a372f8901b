"""The Intel target: OpenVINO IR, quantized as IR, compiled by the runtime each time it is opened."""

from pathlib import Path

from bundle.base.errors import TargetUnavailable
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
    VendorBenchmark,
)
from targets.intel import graph
from targets.intel.benchmark import benchmark_app
from targets.intel.ir_format import IrFormat
from targets.intel.runtime import shared_core
from targets.intel.scheme import scheme, variants
from targets.intel.session import OpenVinoSession, capabilities


class Intel(Target):
    """OpenVINO on CPU, GPU, NPU or AUTO."""

    name = "intel"
    own_format = IrFormat()
    vendor_benchmark = VendorBenchmark("benchmark_app", benchmark_app)

    def devices(self) -> tuple[str, ...]:
        """Name OpenVINO's devices; none where it is not installed."""
        try:
            return tuple(shared_core().available_devices)
        except TargetUnavailable:
            return ()

    def capabilities(self, run: RunConfig) -> Capabilities:
        """Ask OpenVINO what the device can do.

        Raises:
            TargetUnavailable: OpenVINO is not installed, or the device is not here.
        """
        return capabilities(run)

    def variants(self, capabilities: Capabilities) -> tuple[VariantRecipe, ...]:
        """Offer what the device computes natively."""
        return variants(capabilities)

    def scheme(self, capabilities: Capabilities) -> QuantizationScheme:
        """Choose how NNCF quantizes the IR."""
        return scheme(capabilities)

    def convert(self, onnx_path: Path, out_path: Path) -> tuple[str, ...]:
        """Write the graph as IR (``.xml``, ``.bin``) in full float32.

        Raises:
            GraphError: OpenVINO refuses the graph.
        """
        return graph.save(graph.convert(onnx_path), out_path)

    def build(self, folder: Path, variants: tuple[Variant, ...], run: RunConfig) -> EngineBuilt:
        """Need no engine stored: OpenVINO compiles an IR in seconds. Every variant is compiled once here, so one that cannot be fails now.

        The IRs' float constants are stored as FP16 from here on, half the size: what is judged and shipped holds them so.

        Raises:
            TargetUnavailable: the device is not here or does not compute in a variant's precision.
            GraphError: the device cannot compile a graph.
        """
        for name in sorted({variant.files[0] for variant in variants}):
            graph.store_fp16(folder / name)
        return self.opened_once(folder, variants, run)

    def open(self, folder: Path, variant: Variant, run: RunConfig, execute: Execute, *, keep: Path) -> Session:
        """Compile a variant's IR for the device with its precision pinned.

        Raises:
            TargetUnavailable: emulation is asked for, or the device is not here.
            GraphError: the device cannot compile the graph.
        """
        if execute == "emulation":
            raise TargetUnavailable(
                "OpenVINO emulates no device",
                expected="--execute auto or device",
                got="emulation",
                where="the execute setting",
                fix="leave --execute out; every OpenVINO device that is here runs for real",
            )
        info = SessionInfo(
            target=self.name,
            capabilities=capabilities(run),
            precision=variant.recipe.name,
            executed_on="device",
            settings={},
        )
        return OpenVinoSession(folder / variant.files[0], info, run, variant.recipe.hint)


INTEL = Intel()
