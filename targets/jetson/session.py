"""Run a TensorRT engine on the device. Written against TensorRT 10.3 to 11.4; it has not run on hardware yet."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bundle.base.errors import ArtifactError, TargetUnavailable
from bundle.formats.artifacts import TensorSpec
from bundle.formats.contents import ENGINES
from bundle.formats.engines import read_engine_file
from targets.base import Array, Latency, Session, SessionInfo
from targets.jetson.builder import EngineFile
from targets.jetson.cuda import Cuda
from targets.jetson.device import tensorrt_version
from targets.jetson.log import last, no_memory, ran_out, recording_logger

DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
NAMES = ".names.json"  # beside an engine whose tensors have other names than the bundle's


class TensorRtSession(Session):
    """A deserialized engine with its buffers; give it only an engine whose hash was verified.

    ``folder`` is the bundle whose ``engines/`` it is from. ``workspace_mib`` is what it was built with: where memory runs
    out, the advice is to build with less.
    """

    def __init__(self, engine: EngineFile, folder: Path, info: SessionInfo, workspace_mib: int) -> None:
        tensorrt_version()
        import tensorrt as trt

        self._workspace_mib = workspace_mib
        self._lines: list[str] = []
        self._logger = recording_logger(self._lines)
        self._runtime = trt.Runtime(self._logger)
        loaded = self._runtime.deserialize_cuda_engine(engine.content)
        where = folder / ENGINES / engine.name
        if loaded is None:
            raise self._failed("an engine was loaded", where)
        self._engine = loaded
        context = loaded.create_execution_context()
        if context is None:
            raise self._failed("an engine got its scratch memory", where)
        self._context = context
        self._ours = _names(engine, folder)
        names = [loaded.get_tensor_name(index) for index in range(loaded.num_io_tensors)]
        inputs = [name for name in names if loaded.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        super().__init__(
            info, tuple(map(self._spec, inputs)), tuple(self._spec(name) for name in names if name not in inputs)
        )
        with ExitStack() as held:  # what was allocated is free again if the rest cannot be
            self._cuda = Cuda()
            held.callback(self._cuda.close)
            self._addresses, self._host = self._buffers(held)
            self._events = [self._cuda.event() for _ in range(4)]
            for name in names:
                self._context.set_tensor_address(name, self._addresses[self._ours.get(name, name)])
            self._held = held.pop_all()

    def _buffers(self, held: ExitStack) -> tuple[dict[str, int], dict[str, Array]]:
        """Allocate device memory and page-locked host memory for every tensor; ``held`` frees them."""
        addresses: dict[str, int] = {}
        host: dict[str, Array] = {}
        for spec in (*self.inputs, *self.outputs):
            addresses[spec.name] = self._cuda.allocate(_bytes(spec))
            held.callback(self._cuda.free, addresses[spec.name])
            host[spec.name] = self._cuda.allocate_host(spec.shape, spec.dtype)
            held.callback(self._cuda.free_host, host[spec.name])
        return addresses, host

    def _spec(self, name: str) -> TensorSpec:
        kind, dims = self._engine.get_tensor_dtype(name).name, self._engine.get_tensor_shape(name)
        shape = tuple(int(dims[axis]) for axis in range(len(dims)))
        return TensorSpec(name=self._ours.get(name, name), dtype=DTYPES[kind], shape=shape)

    def _infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        self._run(feed)
        return {spec.name: self._host[spec.name].copy() for spec in self.outputs}

    def timed(self, feed: Mapping[str, Array]) -> Latency:
        """Run the engine once between CUDA events: the copies from and to page-locked memory included, and without them.

        Raises:
            InputError: the feed breaks ``inputs``, or the session is closed.
        """
        self._check(feed)
        self._run(feed)
        start, queued, done, end = self._events
        return Latency(total_ms=self._cuda.elapsed_ms(start, end), compute_ms=self._cuda.elapsed_ms(queued, done))

    def _run(self, feed: Mapping[str, Array]) -> None:
        """Copy in, execute and copy out on the one stream, with an event before, between and after, and wait."""
        start, queued, done, end = self._events
        for name, array in feed.items():
            np.copyto(self._host[name], array)
        self._cuda.record(start)
        for spec in self.inputs:
            self._cuda.copy_in(self._addresses[spec.name], self._host[spec.name].ctypes.data, _bytes(spec))
        self._cuda.record(queued)
        if not self._context.execute_async_v3(self._cuda.stream.value or 0):
            raise self._failed("an engine ran", Path(self.info.capabilities.device_name))
        self._cuda.record(done)
        for spec in self.outputs:
            self._cuda.copy_out(self._host[spec.name].ctypes.data, self._addresses[spec.name], _bytes(spec))
        self._cuda.record(end)
        self._cuda.wait()

    def _failed(self, doing: str, where: Path) -> ArtifactError | TargetUnavailable:
        if ran_out(self._lines):
            return no_memory(doing, last(self._lines), str(where), self._workspace_mib)
        return ArtifactError(
            "TensorRT cannot run this engine",
            expected="an engine of this device and version",
            got=last(self._lines),
            where=str(where),
            fix="delete the bundle's folder engines/; the engines are built again",
        )

    def _close(self) -> None:
        self._held.close()
        del self._context, self._engine, self._runtime


def _names(engine: EngineFile, folder: Path) -> dict[str, str]:
    """Return the bundle's name for each of the engine's tensors that is called something else; the file is hashed, too."""
    content = read_engine_file(folder, f"{Path(engine.name).stem}{NAMES}")
    if content is None:
        return {}
    found = json.loads(content)
    return {str(theirs): str(ours) for theirs, ours in found.items()}


def _bytes(spec: TensorSpec) -> int:
    return int(np.prod(spec.shape, dtype=np.int64)) * np.dtype(spec.dtype).itemsize
