"""Build TensorRT engines on the device from a bundle's graphs, strongly typed, each one once.

An engine belongs to one device and one TensorRT version, so ``EngineKey`` names it by everything that decides its
bytes. An engine is executable code: its sha256 is stored beside it and checked before it is loaded (bundle/formats/engines.py).
Each build is a process of its own (``python -m targets.jetson.build_subprocess``): the builder's memory is free again before the
engine runs, and where the system kills the builder for memory, this process lives and says so.
Written against TensorRT 10.3 to 11.4; it has not run on hardware yet.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from pydantic import Field

from bundle.base.errors import GraphError, TargetUnavailable
from bundle.base.frozen import Frozen
from bundle.formats.artifacts import hash_file
from bundle.formats.engines import read_engine_file, write_engine_file
from bundle.judging.choice_rule import Precision
from targets.jetson.device import Device, tensorrt_version, version_of
from targets.jetson.log import last, no_memory, ran_out, recording_logger

if TYPE_CHECKING:
    import tensorrt

EngineBuilder: TypeAlias = Literal["onnx", "torch-tensorrt"]
STRONGLY_TYPED, NO_TF32 = "strongly-typed", "no-tf32"


class BuilderConfig(Frozen):
    """How to build: ``workspace_mib`` of scratch memory per layer, ``optimization_level`` 0 to 5, and the ``flags``.

    TF32 is off, so that what a graph calls float32 is float32. ``builder`` torch-tensorrt is an engine that
    compile/torch_engine.py converted from the folded PyTorch module; this module only finds it.
    """

    workspace_mib: int = Field(default=2048, gt=0)
    optimization_level: int = Field(default=3, ge=0, le=5)
    builder: EngineBuilder = "onnx"
    flags: tuple[str, ...] = (STRONGLY_TYPED, NO_TF32)


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


class EngineFile(NamedTuple):
    """An engine's file name in ``engines/`` and its bytes: those that were hashed are those that are loaded."""

    name: str
    content: bytes


def engine_key(onnx_sha256: str, device: Device, precision: Precision, config: BuilderConfig) -> EngineKey:
    """Name the engine of a graph on a device."""
    return EngineKey(onnx_sha256=onnx_sha256, device=device, precision=precision, config=config)


def cached_engine(folder: Path, key: EngineKey) -> EngineFile | None:
    """Return the engine from ``folder/engines``; None if it is not built yet.

    Raises:
        ArtifactError: the cached engine was altered.
    """
    name = f"{key.stem}.engine"
    content = read_engine_file(folder, name)
    return None if content is None else EngineFile(name, content)


def ensure_engine(
    onnx_path: Path, folder: Path, device: Device, precision: Precision, config: BuilderConfig
) -> EngineFile:
    """Return the engine of a graph from the cache, built now, in this process, if it is not there.

    Raises:
        GraphError: TensorRT's parser refuses the graph.
        TargetUnavailable: the builder fails; the text says what to do where memory ran out.
        ArtifactError: the cached engine was altered.
    """
    key = engine_key(hash_file(onnx_path), device, precision, config)
    cached = cached_engine(folder, key)
    if cached is not None:
        return cached
    if config.builder != "onnx":
        raise TargetUnavailable(
            f"there is no {precision} engine from torch-tensorrt for this device",
            expected=f"{key.stem}.engine",
            got="no such file",
            where=str(folder),
            fix="where torch-tensorrt is installed: python compile/torch_engine.py --help; or --builder onnx",
        )
    serialized = _build(onnx_path, folder, device, config)
    write_engine_file(folder, f"{key.stem}.json", key.model_dump_json(indent=2).encode())
    return EngineFile(write_engine_file(folder, f"{key.stem}.engine", serialized).name, serialized)


def _build(onnx_path: Path, folder: Path, device: Device, config: BuilderConfig) -> bytes:
    tensorrt_version()
    import tensorrt as trt

    lines: list[str] = []
    logger = recording_logger(lines)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(device, config))
    _parse(trt.OnnxParser(network, logger), onnx_path)
    settings = _settings(builder, folder, device, config)
    serialized = builder.build_serialized_network(network, settings)
    if serialized is None and ran_out(lines):
        raise no_memory("TensorRT built an engine", last(lines), str(onnx_path), config.workspace_mib)
    if serialized is None:
        raise TargetUnavailable(
            "TensorRT built no engine",
            expected="a serialized engine",
            got=last(lines),
            where=str(onnx_path),
            fix="send this text with the TensorRT version, and build another variant meanwhile: --variant NAME",
        )
    write_engine_file(folder, _timings(device), bytes(settings.get_timing_cache().serialize()))
    return bytes(serialized)


def _settings(
    builder: "tensorrt.Builder", folder: Path, device: Device, config: BuilderConfig
) -> "tensorrt.IBuilderConfig":
    import tensorrt as trt

    settings = builder.create_builder_config()
    settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, config.workspace_mib << 20)
    settings.builder_optimization_level = config.optimization_level
    if NO_TF32 in config.flags:
        settings.clear_flag(trt.BuilderFlag.TF32)
    cache = settings.create_timing_cache(read_engine_file(folder, _timings(device)) or b"")
    settings.set_timing_cache(cache, ignore_mismatch=False)
    return settings


def _timings(device: Device) -> str:
    """Name the timing cache: how fast each kernel is belongs to one device and TensorRT version."""
    return f"timing-{hashlib.sha256(device.model_dump_json().encode()).hexdigest()[:12]}.cache"


def _network_flags(device: Device, config: BuilderConfig) -> int:
    """TensorRT 11 is always strongly typed; 10.x must be asked."""
    if version_of(device.tensorrt) >= (11, 0) or STRONGLY_TYPED not in config.flags:
        return 0
    import tensorrt as trt

    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _parse(parser: "tensorrt.OnnxParser", onnx_path: Path) -> None:
    if parser.parse_from_file(str(onnx_path)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    text = "; ".join(f"{error.node_name()}: {error.desc()}" for error in errors)
    raise GraphError(
        "TensorRT's parser refuses this graph",
        expected="operators and types this TensorRT knows",
        got=text,
        where=str(onnx_path),
        fix="report it with the TensorRT version: the compiler's lint rules should have caught it",
    )
