"""Run an OpenVINO IR with the inference precision pinned, and say what the runtime really set."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.base.errors import GraphError, TargetUnavailable
from bundle.formats.artifacts import TensorSpec
from bundle.judging.choice_rule import Precision
from targets.base import Array, Capabilities, Ran, RunConfig, Session, SessionInfo, Wait
from targets.intel.graph import read
from targets.intel.outputs import OutputArrays
from targets.intel.runtime import check_device, import_openvino, may_use_cpu, shared_core, tensor_spec
from targets.isa import cpu_isa, read_cpuinfo

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, Model

HINT = "INFERENCE_PRECISION_HINT"
OWN = "own"  # no hint: the precision is the device's own choice, read back after compilation
CHOSEN = "DEVICE_PROPERTIES"
RECORDED = (
    HINT,
    CHOSEN,
    "EXECUTION_DEVICES",
    "INFERENCE_NUM_THREADS",
    "NUM_STREAMS",
    "EXECUTION_MODE_HINT",
    "PERFORMANCE_HINT",
    "LOADED_FROM_CACHE",
)
PRECISIONS: dict[str, Precision] = {"FP32": "f32", "BF16": "bf16", "FP16": "f16", "INT8": "int8"}


def device_of(run: RunConfig) -> str:
    """Return the device to use: CPU unless ``run`` names one."""
    return run.device or "CPU"


def capabilities(run: RunConfig) -> Capabilities:
    """Ask OpenVINO what the device can do; the ISA is known for CPUs only. AUTO answers for the CPU it falls back on.

    Raises:
        TargetUnavailable: OpenVINO is not installed, or the device is not here.
    """
    openvino = import_openvino()
    core, device = shared_core(), device_of(run)
    check_device(core, device)
    asked = "CPU" if may_use_cpu(device) else device
    known = core.get_property(asked, "OPTIMIZATION_CAPABILITIES")
    return Capabilities(
        device=device,
        device_name=str(core.get_property(asked, "FULL_DEVICE_NAME")),
        isa=cpu_isa(read_cpuinfo()) if asked == "CPU" else (),
        precisions=tuple(ours for theirs, ours in PRECISIONS.items() if theirs in known),
        runtime=f"openvino {openvino.get_version()}",
    )


class OpenVinoSession(Session):
    """An IR compiled for one device; ``info.settings`` holds the properties read back after compilation."""

    def __init__(self, path: Path, info: SessionInfo, run: RunConfig, hint: str) -> None:
        core = shared_core()
        device = device_of(run)
        check_device(core, device)
        model = read(path)
        inputs, outputs = model_specs(model, path)
        compiled = _compile(core, model, device, _properties(run, hint), path)
        settings = info.settings | effective(compiled)
        _check_hint(settings[HINT], hint, device)
        self._request = compiled.create_infer_request()
        self._arrays = OutputArrays(self._request, outputs)
        super().__init__(info.model_copy(update={"settings": settings}), inputs, outputs)

    def _infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Run as ``_start`` does: ``InferRequest.infer`` of OpenVINO 2026.4 drops the errors of a graph that runs."""
        return self._start(feed)().outputs

    def _start(self, feed: Mapping[str, Array]) -> Wait:
        """Begin an asynchronous request; its time is OpenVINO's, without the copy of the feed, which is made here."""
        answers = self._arrays.free()
        self._request.start_async(dict(feed), share_inputs=False)

        def wait() -> Ran:
            self._request.wait()
            return Ran(answers, self._request.latency)

        return wait

    def _close(self) -> None:
        with suppress(RuntimeError):  # of a run that was not waited for
            self._request.wait()
        del self._arrays, self._request


def model_specs(model: "Model", path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Describe a model's inputs and outputs in their order.

    Raises:
        GraphError: a shape is not static or a type is unknown.
    """
    inputs = tuple(_spec(node.get_friendly_name(), node.output(0), path) for node in model.get_parameters())
    outputs = tuple(
        _spec(node.get_friendly_name().split("/sink_port_")[0], node.output(0), path) for node in model.get_results()
    )
    return inputs, outputs


def effective(compiled: "CompiledModel") -> dict[str, str]:
    """Return the properties the device set, as text; AUTO answers for the devices it chose."""
    properties = {
        name: compiled.get_property(name) for name in RECORDED if name in compiled.get_property("SUPPORTED_PROPERTIES")
    }
    for chosen in properties.pop(CHOSEN, {}).values():
        properties = {name: chosen[name] for name in RECORDED if name in chosen} | properties
    if HINT in properties:
        properties[HINT] = properties[HINT].to_string()
    return {HINT: "not reported"} | {name: str(value) for name, value in properties.items()}


def _spec(name: str, port: "object", path: Path) -> TensorSpec:
    shape = port.get_partial_shape()  # type: ignore[attr-defined]
    static = tuple(int(size) for size in port.get_shape()) if shape.is_static else None  # type: ignore[attr-defined]
    return tensor_spec(name, port.get_element_type().to_string(), static, str(path))  # type: ignore[attr-defined]


def _properties(run: RunConfig, hint: str) -> dict[str, object]:
    properties: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY"}
    if hint != OWN:
        properties[HINT] = hint
    if run.threads:
        properties["INFERENCE_NUM_THREADS"] = run.threads
    if isinstance(run.model_cache, Path):
        properties["CACHE_DIR"] = str(run.model_cache)
    return properties


def _compile(core: "Core", model: "Model", device: str, properties: dict[str, object], path: Path) -> "CompiledModel":
    try:
        return core.compile_model(model, device, properties)
    except RuntimeError as error:
        raise GraphError(
            f"OpenVINO cannot compile this graph for {device}",
            expected="a graph the device supports",
            got=str(error),
            where=str(path),
            fix="choose another device or variant",
        ) from error


def _check_hint(got: str, hint: str, device: str) -> None:
    if hint != OWN and got not in (hint, "not reported"):
        raise TargetUnavailable(
            f"{device} does not compute in {hint}",
            expected=f"{HINT} = {hint}",
            got=got,
            where=f"OpenVINO's {device} device",
            fix="choose a variant whose precision the device supports",
        )
