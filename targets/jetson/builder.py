"""Build TensorRT engines on the device from a bundle's ONNX graphs, strongly typed, each one once.

An engine belongs to one device and one TensorRT version, so ``EngineKey`` names it by everything that decides its
bytes. An engine is executable code: its sha256 is stored beside it and checked before it is loaded (bundle/engines.py).
Written against TensorRT 10.3 and 11; it has not run on hardware yet.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.artifacts import hash_file
from bundle.engines import engine_file, write_engine_file
from bundle.errors import GraphError, TargetUnavailable
from bundle.frozen import Frozen
from targets.base import Precision
from targets.jetson.device import Device, tensorrt_version, version_of

if TYPE_CHECKING:
    import tensorrt

TIMING_CACHE = "timing.cache"


class BuilderConfig(Frozen):
    """How to build: ``workspace_mib`` of scratch memory per layer, ``optimization_level`` 0 to 5."""

    workspace_mib: int = 2048
    optimization_level: int = 3


class EngineKey(Frozen):
    """Everything that decides an engine's bytes; a change of any of it means a new engine."""

    onnx_sha256: str
    device: Device
    precision: Precision
    config: BuilderConfig

    @property
    def stem(self) -> str:
        """The engine's file name without its suffix."""
        return f"{self.precision}-{hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:24]}"


def ensure_engine(onnx_path: Path, folder: Path, device: Device, precision: Precision, config: BuilderConfig) -> Path:
    """Return the engine of a graph from the cache ``folder/engines``, built now if it is not there.

    Raises:
        GraphError: TensorRT's parser refuses the graph.
        TargetUnavailable: the builder fails, for memory mostly.
        ArtifactError: the cached engine was altered.
    """
    key = EngineKey(onnx_sha256=hash_file(onnx_path), device=device, precision=precision, config=config)
    cached = engine_file(folder, f"{key.stem}.engine")
    if cached is not None:
        return cached
    serialized = _build(onnx_path, folder, device, config)
    write_engine_file(folder, f"{key.stem}.json", key.model_dump_json(indent=2).encode())
    return write_engine_file(folder, f"{key.stem}.engine", serialized)


def _build(onnx_path: Path, folder: Path, device: Device, config: BuilderConfig) -> bytes:
    tensorrt_version()
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(device))
    _parse(trt.OnnxParser(network, logger), onnx_path)
    settings = builder.create_builder_config()
    settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, config.workspace_mib << 20)
    settings.builder_optimization_level = config.optimization_level
    timings = engine_file(folder, TIMING_CACHE)
    cache = settings.create_timing_cache(timings.read_bytes() if timings is not None else b"")
    settings.set_timing_cache(cache, ignore_mismatch=False)
    serialized = builder.build_serialized_network(network, settings)
    if serialized is None:
        raise TargetUnavailable(
            "TensorRT built no engine", expected="a serialized engine", got="nothing; its own log above says why", where=str(onnx_path),
            fix=f"if memory ran out, close other programs and build with less than {config.workspace_mib} MiB of workspace",
        )  # fmt: skip
    write_engine_file(folder, TIMING_CACHE, bytes(settings.get_timing_cache().serialize()))
    return bytes(serialized)


def _network_flags(device: Device) -> int:
    """TensorRT 11 is always strongly typed; 10.x must be asked."""
    if version_of(device.tensorrt) >= (11, 0):
        return 0
    import tensorrt as trt

    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _parse(parser: "tensorrt.OnnxParser", onnx_path: Path) -> None:
    if parser.parse_from_file(str(onnx_path)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    text = "; ".join(f"{error.node_name()}: {error.desc()}" for error in errors)
    raise GraphError(
        "TensorRT's parser refuses this graph", expected="operators and types this TensorRT knows", got=text, where=str(onnx_path),
        fix="report it with the TensorRT version: the compiler's lint rules should have caught it",
    )  # fmt: skip
