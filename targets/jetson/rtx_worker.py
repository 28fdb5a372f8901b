"""The process in which TensorRT-RTX runs: ``python -m targets.jetson.rtx_worker GRAPH OUT``; a crash in it ends only this.

It parses and builds one ONNX graph on the CPU, strongly typed, for compute capability 8.6: the Ampere generation that an
Orin (8.7) belongs to, and which this library builds for. OUT gets JSON: the versions, what the parser said, and the lines of
the verbose log that name the kernels.
"""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from bundle.base.strict_json import dumps

LAYERS = "Layers:"
UNKNOWN = 64


def build(path: str) -> dict[str, object]:
    """Parse and build one graph; say how far it came."""
    import tensorrt_rtx as trt

    said = SimpleNamespace(problems=[], layers=[])
    log = _log(trt, said)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    parsed = parser.parse_from_file(path)
    complaints = [str(parser.get_error(index)) for index in range(parser.num_errors)]
    size = _engine_bytes(trt, builder, network) if parsed else 0
    return {
        "version": str(trt.__version__),
        "parsed": bool(parsed),
        "built": size > 0,
        "complaints": complaints or said.problems,
        "layers": said.layers,
        "engine_bytes": size,
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


def _engine_bytes(trt: ModuleType, builder: Any, network: Any) -> int:  # the library has no types
    """Build the network; return the engine's size, 0 if the builder refuses."""
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    _fix_shapes(builder, network, config)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    engine = builder.build_serialized_network(network, config)
    return 0 if engine is None else int(engine.nbytes)


def _fix_shapes(builder: Any, network: Any, config: Any) -> None:
    """Give every axis of unknown length one: what is to be known is whether the graph is taken, not how fast it would be."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    if all(size >= 0 for tensor in inputs for size in tensor.shape):
        return
    profile = builder.create_optimization_profile()
    for tensor in inputs:
        shape = [UNKNOWN if size < 0 else size for size in tensor.shape]
        profile.set_shape(tensor.name, shape, shape, shape)
    config.add_optimization_profile(profile)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(dumps(build(sys.argv[1])), encoding="utf-8")
