"""Run a Jetson graph on a host with the arithmetic its operators are defined by, and say that this is an emulation.

It is exact per operator, not for the device's accumulators: their order and width are the device's own.

INT8: ONNX Runtime with every optimization off computes each Q and DQ as the standard says, so weights and activations
take the very values TensorRT's would; the products are summed in float32. FP16: ONNX Runtime computes FP16 in float32
inside, so a variant that holds FP16 carries a second graph, ``*.emulation.onnx``, with the roundings as explicit Cast
pairs; its weights lie in the first one's file. A device may round less often (a fused chain keeps float32 inside) and
may sum in FP16. An emulation says nothing about speed.
"""

from pathlib import Path

from bundle.base.errors import ArtifactError
from targets.base import Capabilities, RunConfig, Session, SessionInfo, Variant
from targets.reference.session import OnnxRuntimeSession, cpu_capabilities

SUFFIX = ".emulation.onnx"


def emulated_capabilities() -> Capabilities:
    """Describe the emulation: this machine's CPU, standing in for every precision of a Jetson."""
    cpu = cpu_capabilities()
    return cpu.model_copy(
        update={
            "device": "emulation",
            "device_name": f"emulated on {cpu.device_name}",
            "precisions": ("f32", "f16", "int8"),
        }
    )


def emulated_graph(variant: Variant) -> str:
    """Return the file to emulate: the emulation graph where there is one, else the graph itself.

    Raises:
        ArtifactError: a graph with FP16 in it but without one, which a host would compute in float32.
    """
    for name in variant.files:
        if name.endswith(SUFFIX):
            return name
    if variant.recipe.hint == "f16":
        raise ArtifactError(
            "an FP16 graph cannot be emulated as it is",
            expected=f"a file *{SUFFIX} beside it",
            got=str(variant.files),
            where="the variant's files",
            fix="build the bundle again, or emulate another variant",
        )
    return variant.files[0]


def open_emulation(folder: Path, variant: Variant, run: RunConfig) -> Session:
    """Open a variant in ONNX Runtime with every optimization off.

    Raises:
        TargetUnavailable: ONNX Runtime is not installed.
        ArtifactError: a file is missing.
    """
    name = emulated_graph(variant)
    info = SessionInfo(
        target="jetson",
        capabilities=emulated_capabilities(),
        precision=variant.recipe.name,
        executed_on="emulation",
        settings={"emulated_graph": name},
    )
    return OnnxRuntimeSession(folder / name, info, optimizations=False, threads=run.threads)
