"""The process in which TensorRT-RTX runs: ``python -m targets.jetson.rtx_worker GRAPH OUT SHAPES``; a crash in it ends only this.

It parses and builds one ONNX graph on the CPU, strongly typed, for compute capability 8.6: the Ampere generation that an
Orin (8.7) belongs to, and which this library builds for. OUT gets JSON: the versions, what the parser said, and the lines of
the verbose log that name the kernels. SHAPES is a JSON object of input names and sizes.
"""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from bundle.base.strict_json import dumps

LAYERS = "Layers:"
UNKNOWN = 64  # the length given to an axis of unknown length; a first axis is mostly the batch, which gets 1


def build(path: str, shapes: Mapping[str, Sequence[int]]) -> dict[str, object]:
    """Parse and build one graph with these input shapes; say how far it came and what was assumed."""
    import tensorrt_rtx as trt

    said = SimpleNamespace(problems=[], layers=[])
    log = _log(trt, said)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    parsed = parser.parse_from_file(path)
    complaints = [str(parser.get_error(index)) for index in range(parser.num_errors)]
    assumed = dict[str, Sequence[int]]()
    size = _engine_bytes(trt, builder, network, shapes, assumed) if parsed else 0
    return {
        "version": str(trt.__version__),
        "parsed": bool(parsed),
        "built": size > 0,
        "complaints": complaints or said.problems,
        "layers": said.layers,
        "engine_bytes": size,
        "assumed": assumed,
    }


def _log(trt: ModuleType, said: SimpleNamespace) -> Any:  # TensorRT wants a subclass of its own logger
    """Return a logger that keeps errors and the block that names the kernels."""

    class Log(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: object, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                said.problems.append(message)
            if message.lstrip().startswith(LAYERS):
                said.layers += [line for line in message.splitlines() if line.startswith("Name: ")]

    return Log()


def _engine_bytes(
    trt: ModuleType, builder: Any, network: Any, shapes: Mapping[str, Sequence[int]], assumed: dict[str, Sequence[int]]
) -> int:  # the library has no types
    """Build the network; return the engine's size, 0 if the builder refuses."""
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    if any(tensor.is_shape_tensor or min(tensor.shape, default=0) < 0 for tensor in inputs):
        profile = builder.create_optimization_profile()
        batches = {tensor.get_dimension_name(0) for tensor in inputs if tensor.shape} - {""}
        for tensor in inputs:
            _fix_shape(profile, tensor, shapes, assumed, batches)
        config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    engine = builder.build_serialized_network(network, config)
    return 0 if engine is None else int(engine.nbytes)


def _fix_shape(
    profile: Any,
    tensor: Any,
    shapes: Mapping[str, Sequence[int]],
    assumed: dict[str, Sequence[int]],
    batches: Collection[str],
) -> None:
    """Give an input its sizes; an input that is a shape itself gets them as its values.

    An axis of unknown length without a named size gets a length, and ``assumed`` holds it.
    """
    if tensor.is_shape_tensor:
        values = shapes.get(tensor.name)
        if values is None:
            assumed[tensor.name] = values = [UNKNOWN] * max(int(tensor.shape[0]) if tensor.shape else 1, 1)
        profile.set_shape_input(tensor.name, values, values, values)
        return
    shape = shapes.get(tensor.name)
    if shape is None:
        lengths = [
            1 if axis == 0 or tensor.get_dimension_name(axis) in batches else UNKNOWN
            for axis in range(len(tensor.shape))
        ]
        shape = [size if size >= 0 else length for size, length in zip(tensor.shape, lengths, strict=True)]
        if min(tensor.shape, default=0) < 0:
            assumed[tensor.name] = shape
    profile.set_shape(tensor.name, shape, shape, shape)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(dumps(build(sys.argv[1], json.loads(sys.argv[3]))), encoding="utf-8")
