"""Run a TensorRT engine on the device. Written against TensorRT 10.3 and 11; it has not run on hardware yet."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bundle.artifacts import TensorSpec
from bundle.errors import ArtifactError, TargetUnavailable
from targets.base import Array, Session, SessionInfo
from targets.jetson.cuda import Cuda
from targets.jetson.device import tensorrt_version

DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "UINT8": "uint8", "INT8": "int8", "INT32": "int32", "INT64": "int64", "BOOL": "bool",
}  # fmt: skip


class TensorRtSession(Session):
    """A deserialized engine with its buffers; give it only an engine whose hash was verified."""

    def __init__(self, engine: Path, info: SessionInfo) -> None:
        tensorrt_version()
        import tensorrt as trt

        self._logger = trt.Logger(trt.Logger.WARNING)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine.read_bytes())
        if self._engine is None:
            raise ArtifactError(
                "TensorRT cannot load this engine", expected="an engine of this device and version", got="nothing", where=str(engine),
                fix=f"delete the folder {engine.parent}; the engines are built again",
            )  # fmt: skip
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        super().__init__(
            info, tuple(map(self._spec, inputs)), tuple(self._spec(name) for name in names if name not in inputs)
        )
        self._cuda = Cuda()
        self._addresses = {spec.name: self._cuda.allocate(_bytes(spec)) for spec in (*self.inputs, *self.outputs)}
        for name, address in self._addresses.items():
            self._context.set_tensor_address(name, address)

    def _spec(self, name: str) -> TensorSpec:
        kind, dims = self._engine.get_tensor_dtype(name).name, self._engine.get_tensor_shape(name)
        shape = tuple(int(dims[axis]) for axis in range(len(dims)))
        return TensorSpec(name=name, dtype=DTYPES[kind], shape=shape)

    def _infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        arrays = {name: np.ascontiguousarray(array) for name, array in feed.items()}
        for name, array in arrays.items():
            self._cuda.copy_in(self._addresses[name], array.ctypes.data, array.nbytes)
        if not self._context.execute_async_v3(self._cuda.stream.value or 0):
            raise TargetUnavailable(
                "the engine did not run", expected="execute_async_v3 to queue it", got="False; TensorRT's log says why",
                where=self.info.capabilities.device_name, fix="free GPU memory, or delete the engines folder and build again",
            )  # fmt: skip
        outputs: dict[str, Array] = {spec.name: np.empty(spec.shape, spec.dtype) for spec in self.outputs}
        for name, array in outputs.items():
            self._cuda.copy_out(array.ctypes.data, self._addresses[name], array.nbytes)
        self._cuda.wait()
        return outputs

    def _close(self) -> None:
        for address in self._addresses.values():
            self._cuda.free(address)
        self._cuda.close()
        del self._context, self._engine, self._runtime


def _bytes(spec: TensorSpec) -> int:
    return int(np.prod(spec.shape, dtype=np.int64)) * np.dtype(spec.dtype).itemsize
