"""Build TensorRT engines on the device from a bundle's ONNX graphs, strongly typed, each one once.

An engine belongs to one device and one TensorRT version, so ``EngineKey`` names it by everything that decides its
bytes. An engine is executable code: its sha256 is stored beside it and checked before it is loaded.
Written against TensorRT 10.3 and 11; it has not run on hardware yet.
"""

import hashlib
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.artifacts import hash_file, write_text
from bundle.errors import ArtifactError, GraphError, TargetUnavailable
from bundle.frozen import Frozen
from targets.base import Precision
from targets.jetson.device import Device, tensorrt_version, version_of

if TYPE_CHECKING:
    import tensorrt

ENGINES = "engines"
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
    cache = folder / ENGINES
    engine, digest = cache / f"{key.stem}.engine", cache / f"{key.stem}.sha256"
    if digest.is_file():
        return verified(engine, digest)
    cache.mkdir(exist_ok=True)
    _write_bytes(engine, _build(onnx_path, cache / TIMING_CACHE, device, config))
    write_text(cache / f"{key.stem}.json", key.model_dump_json(indent=2))
    write_text(digest, hash_file(engine))
    return engine


def verified(engine: Path, digest: Path) -> Path:
    """Return ``engine`` if its bytes are those that were recorded.

    Raises:
        ArtifactError: they are not, or it is missing.
    """
    expected = digest.read_text(encoding="utf-8").strip()
    got = hash_file(engine) if engine.is_file() else "no such file"
    if got != expected:
        raise ArtifactError(
            "a cached engine was altered", expected=f"sha256 {expected}", got=got, where=str(engine),
            fix=f"delete the folder {engine.parent}; the engines are built again",
        )  # fmt: skip
    return engine


def _build(onnx_path: Path, timing_cache: Path, device: Device, config: BuilderConfig) -> bytes:
    tensorrt_version()
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(device))
    _parse(trt.OnnxParser(network, logger), onnx_path)
    settings = builder.create_builder_config()
    settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, config.workspace_mib << 20)
    settings.builder_optimization_level = config.optimization_level
    cache = settings.create_timing_cache(timing_cache.read_bytes() if timing_cache.is_file() else b"")
    settings.set_timing_cache(cache, ignore_mismatch=False)
    serialized = builder.build_serialized_network(network, settings)
    if serialized is None:
        raise TargetUnavailable(
            "TensorRT built no engine", expected="a serialized engine", got="nothing; its own log above says why", where=str(onnx_path),
            fix=f"if memory ran out, close other programs and build with less than {config.workspace_mib} MiB of workspace",
        )  # fmt: skip
    _write_bytes(timing_cache, bytes(settings.get_timing_cache().serialize()))
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


def _write_bytes(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)
