"""Run an ONNX graph with ONNX Runtime on the CPU.

With graph optimizations ONNX Runtime fuses Q/DQ into integer kernels that saturate on CPUs without VNNI; with
``ORT_DISABLE_ALL`` every node is computed as the ONNX operator says. So the exact semantics of an INT8 graph are
those with optimizations off.
"""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol

from bundle.base.errors import ArtifactError, GraphError, TargetUnavailable, not_installed
from bundle.base.telemetry import switch_off_telemetry
from bundle.formats.artifacts import TensorSpec
from bundle.judging.choice_rule import Precision
from targets.base import Array, Capabilities, Execute, RunConfig, Session, SessionInfo
from targets.isa import cpu_isa, cpu_name, read_cpuinfo

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class _Argument(Protocol):
    """One input or output as ONNX Runtime describes it."""

    name: str
    type: str
    shape: list[int | str | None]


def import_onnxruntime() -> ModuleType:
    """Import ONNX Runtime.

    Raises:
        TargetUnavailable: it is not installed.
    """
    switch_off_telemetry()
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise not_installed(
            "ONNX Runtime's part", "onnxruntime", extra="device-onnxruntime", where="targets.reference", error=error
        ) from error
    module: ModuleType = onnxruntime
    return module


def capabilities_for(target: str, run: RunConfig) -> Capabilities:
    """Describe the CPU, the one device of a target on ONNX Runtime.

    Raises:
        TargetUnavailable: another device is asked for, or ONNX Runtime is not installed.
    """
    if run.device not in ("", "CPU"):
        raise TargetUnavailable(
            f"the target {target} does not run on {run.device!r}",
            expected="CPU",
            got=run.device,
            where="the device setting",
            fix="leave the device out",
        )
    return cpu_capabilities()


def open_graph(
    target: str, path: Path, precision: Precision, run: RunConfig, execute: Execute, *, optimizations: bool
) -> Session:
    """Open a graph for a target that runs on this machine's CPU; see ``OnnxRuntimeSession``.

    Raises:
        TargetUnavailable: emulation is asked for, or ONNX Runtime is not installed.
    """
    if execute == "emulation":
        raise TargetUnavailable(
            f"the target {target} emulates nothing",
            expected="--execute auto or device",
            got="emulation",
            where="the execute setting",
            fix="leave --execute out",
        )
    able = capabilities_for(target, run)
    info = SessionInfo(target=target, capabilities=able, precision=precision, executed_on="device", settings={})
    return OnnxRuntimeSession(path, info, optimizations=optimizations, threads=run.threads)


def cpu_capabilities() -> Capabilities:
    """Describe this machine's CPU as ONNX Runtime uses it: in f32, and Q/DQ as the operators say."""
    text = read_cpuinfo()
    runtime = f"onnxruntime {import_onnxruntime().__version__}"
    return Capabilities(
        device="CPU", device_name=cpu_name(text), isa=cpu_isa(text), precisions=("f32", "int8"), runtime=runtime
    )


def specs(arguments: list[_Argument], where: Path) -> tuple[TensorSpec, ...]:
    """Describe a graph's inputs or outputs.

    Raises:
        GraphError: a shape is not static, or a type is not one of ``DTYPES``.
    """
    for argument in arguments:
        if argument.type not in DTYPES or not all(isinstance(size, int) for size in argument.shape):
            raise GraphError(
                f"{argument.name!r} cannot be fed or read",
                expected="a tensor of a plain type and static shape",
                got=f"{argument.type} {argument.shape}",
                where=str(where),
                fix="export the model with static shapes",
            )
    return tuple(
        TensorSpec(name=a.name, dtype=DTYPES[a.type], shape=tuple(int(str(size)) for size in a.shape))
        for a in arguments
    )


class OnnxRuntimeSession(Session):
    """An ONNX graph in ONNX Runtime; ``optimizations`` False computes every node as its operator is defined."""

    def __init__(self, path: Path, info: SessionInfo, *, optimizations: bool, threads: int) -> None:
        runtime = import_onnxruntime()
        level = runtime.GraphOptimizationLevel
        options = runtime.SessionOptions()
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimizations else level.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what it logs as an error it raises, too
        if not path.is_file():
            raise ArtifactError(
                "the graph is missing",
                expected=path.name,
                got="no such file",
                where=str(path.parent),
                fix="build it again",
            )
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except _refusals() as error:
            raise _refused(path, error) from error
        settings = info.settings | {
            "provider": "CPUExecutionProvider",
            "graph_optimizations": "all" if optimizations else "off",
            "threads": str(threads or "all"),
        }
        super().__init__(
            info.model_copy(update={"settings": settings}),
            specs(self._session.get_inputs(), path),
            specs(self._session.get_outputs(), path),
        )

    def _infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        names = [spec.name for spec in self.outputs]
        return dict(zip(names, self._session.run(names, dict(feed)), strict=True))

    def _close(self) -> None:
        del self._session


def _refusals() -> tuple[type[Exception], ...]:
    state = import_onnxruntime().capi.onnxruntime_pybind11_state

    return (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
    )


def _refused(path: Path, error: Exception) -> GraphError:
    return GraphError(
        "ONNX Runtime refuses this graph",
        expected="a valid ONNX graph of operators it knows",
        got=str(error),
        where=str(path),
        fix="check the graph with onnx.checker, and its opset",
    )
