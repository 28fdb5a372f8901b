"""The Jetson target: a host makes and proves the ONNX graphs, the device builds its engines from them."""

from pathlib import Path

from bundle.base.errors import TargetUnavailable
from bundle.formats.contents import ENGINES
from targets.base import (
    Capabilities,
    DeferredEngine,
    EngineBuilt,
    EngineStatus,
    Execute,
    QuantizationScheme,
    RunConfig,
    Session,
    SessionInfo,
    Target,
    Variant,
    VariantRecipe,
    VendorBenchmark,
    VendorTiming,
)
from targets.jetson.build_subprocess import engine_of
from targets.jetson.builder import BuilderConfig, EngineFile
from targets.jetson.device import Device, find_device
from targets.jetson.emulation import emulated_capabilities, open_emulation
from targets.jetson.placement import read_placement
from targets.jetson.power import jetson_facts
from targets.jetson.scheme import scheme, variants
from targets.jetson.session import TensorRtSession
from targets.jetson.trtexec import time_with_trtexec

EMULATION = "emulation"
CUDA = "cuda:0"
DEVICES = ("", CUDA, EMULATION)  # "" is CUDA where there is one, else the emulation

BEFORE_ATTENTION = (
    "make_activations_signed",
    "make_activations_per_tensor",
    "drop_bias_dequantization",
    "move_weight_dequantization",
    "scale_query_first",
)
AFTER_ATTENTION = ("share_concat_scales", "quantize_residual_inputs")


def trtexec(folder: Path, keep: Path, variant: Variant, run: RunConfig, seconds: int) -> VendorTiming:
    """Time the engine of a variant in ``folder``, from the engines of ``keep`` or built now.

    Raises:
        ArtifactError: the stored engine was altered.
        TargetUnavailable: there is no device, the builder fails, or the tool is not here or fails.
    """
    engine = _engine(folder, keep, variant, find_device(), run)
    path = folder / ENGINES / engine.name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(engine.content)
    return VendorTiming(*time_with_trtexec(path, seconds=seconds))


class Jetson(Target):
    """TensorRT on the device, its emulation elsewhere."""

    name = "jetson"
    vendor_benchmark = VendorBenchmark("trtexec", trtexec)

    @property
    def passes(self) -> tuple[str, ...]:
        """Name what makes a quantized graph legal, and places quantizers as the row that is on in ``placement.json``."""
        return (*BEFORE_ATTENTION, *read_placement().chosen.passes, *AFTER_ATTENTION)

    def capabilities(self, run: RunConfig) -> Capabilities:
        """Describe the device or, where there is none, the emulation: ``device`` says which.

        Raises:
            TargetUnavailable: ``run.device`` names a device, and it is not here, or is none of this target's.
        """
        _check_device(run)
        found = None if run.device == EMULATION else _device(run)
        return emulated_capabilities() if found is None else _describe(found)

    def variants(self, capabilities: Capabilities) -> tuple[VariantRecipe, ...]:
        """Offer FP32, FP16 and INT8 graphs."""
        return variants(capabilities)

    def scheme(self, capabilities: Capabilities) -> QuantizationScheme:
        """Choose how NNCF quantizes the ONNX graph."""
        return scheme(capabilities)

    def machine_facts(self) -> dict[str, str]:
        """Say how the device is powered and clocked."""
        return jetson_facts()

    def build(self, folder: Path, variants: tuple[Variant, ...], run: RunConfig) -> EngineStatus:
        """Build every variant's engine on the device; on a host, defer them.

        Raises:
            TargetUnavailable: the builder fails, as where TensorRT refuses a graph; or ``run.device`` is none of this target's.
        """
        _check_device(run)
        try:
            device = find_device()
        except TargetUnavailable as missing:
            return DeferredEngine(
                reason="a TensorRT engine can only be built on the device it runs on, and there is none here "
                f"({missing.message}: {missing.got}); run 'make target=jetson bundle=DIR' on the device"
            )
        engines = [_engine(folder, folder, variant, device, run) for variant in variants]
        files = tuple(f"{ENGINES}/{engine.name}" for engine in engines)
        settings = {name: str(value) for name, value in builder_config(run).model_dump(mode="json").items()}
        return EngineBuilt(variants=variants, files=files, settings=device.model_dump() | settings)

    def open(self, folder: Path, variant: Variant, run: RunConfig, execute: Execute, *, keep: Path) -> Session:
        """Open the engine on a device, the emulation elsewhere; ``execute`` device or emulation forbids the other.

        Raises:
            TargetUnavailable: ``execute`` is device, and there is none here; or ``run.device`` is none of this target's.
            ArtifactError: a file is missing or was altered.
        """
        _check_device(run)
        if execute == EMULATION or run.device == EMULATION:
            return open_emulation(folder, variant, run)
        device = find_device() if execute == "device" else _device(run)
        if device is None:
            return open_emulation(folder, variant, run)
        info = SessionInfo(
            target=self.name,
            capabilities=_describe(device),
            precision=variant.recipe.name,
            executed_on="device",
            settings=device.model_dump() | {"builder": run.builder},
        )
        return TensorRtSession(_engine(folder, keep, variant, device, run), keep, info, run.workspace_mib)


def builder_config(run: RunConfig) -> BuilderConfig:
    """Return how an engine is built for these run settings."""
    return BuilderConfig(workspace_mib=run.workspace_mib, builder=run.builder)


def _engine(folder: Path, keep: Path, variant: Variant, device: Device, run: RunConfig) -> EngineFile:
    return engine_of(folder / variant.files[0], keep, device, variant.recipe.name, builder_config(run))


def _check_device(run: RunConfig) -> None:
    if run.device not in DEVICES:
        raise TargetUnavailable(
            f"the jetson target has no device {run.device!r}",
            expected=f"{CUDA}, {EMULATION}, or none by name",
            got=repr(run.device),
            where="the device setting",
            fix="leave --device out",
        )


def _device(run: RunConfig) -> Device | None:
    """Return the device, or None if there is none and none was asked for by name."""
    try:
        return find_device()
    except TargetUnavailable:
        if run.device:
            raise
        return None


def _describe(device: Device) -> Capabilities:
    return Capabilities(
        device=CUDA,
        device_name=device.board,
        isa=(f"sm_{device.compute_capability.replace('.', '')}",),
        precisions=("f32", "f16", "int8"),
        runtime=f"tensorrt {device.tensorrt}",
    )


JETSON = Jetson()
