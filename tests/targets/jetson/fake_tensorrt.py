"""FAKES of TensorRT's Python API and of the CUDA runtime: they record calls and compute nothing.

What passes with them has not run on hardware. The fake engine's outputs are twice its input, so that a test can tell
whether the bytes went where they should.
"""

import ctypes
from enum import IntEnum
from types import SimpleNamespace

import numpy as np

OUT_OF_MEMORY = (
    "[virtualMemoryBuffer.cpp::resizePhysical::140] Error Code 2: OutOfMemory (Requested size was 2097152 bytes.)"
)


class Severity(IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class Logger:
    """The base class that a logger extends."""

    Severity = Severity

    def __init__(self) -> None:
        self.started = True


class FakeTensorRt:
    """The calls ``targets/jetson`` makes; ``log`` holds them in order. ``says`` is what the builder complains of."""

    def __init__(self, *, accepts: bool = True, builds: bool = True, says: str = "", loads: bool = True) -> None:
        self.log: list[tuple[str, object]] = []
        self.accepts, self.builds, self.says, self.loads = accepts, builds, says, loads
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
        self.BuilderFlag = SimpleNamespace(TF32="tf32")
        self.TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
        self.ILogger = Logger

    def Builder(self, logger):
        self.logger = logger
        return SimpleNamespace(
            create_network=self._network, create_builder_config=self._config, build_serialized_network=self._serialize
        )

    def OnnxParser(self, network, logger):
        error = SimpleNamespace(node_name=lambda: "gate/Softmax", desc=lambda: "Assertion failed")
        return SimpleNamespace(parse_from_file=lambda path: self.accepts, num_errors=1, get_error=lambda index: error)

    def Runtime(self, logger):
        self.logger = logger
        return SimpleNamespace(deserialize_cuda_engine=self._deserialize)

    def _network(self, flags):
        self.log.append(("network", flags))
        return object()

    def _config(self):
        cache = SimpleNamespace(serialize=lambda: b"timings")
        return SimpleNamespace(
            set_memory_pool_limit=lambda pool, size: self.log.append((pool, size)),
            clear_flag=lambda flag: self.log.append(("clear", flag)),
            create_timing_cache=lambda data: self.log.append(("timing cache", data)) or cache,
            set_timing_cache=lambda cache, ignore_mismatch: True,
            get_timing_cache=lambda: cache,
        )

    def _serialize(self, network, config):
        self.log.append(("build", None))
        if self.says:
            self.logger.log(Severity.ERROR, self.says)
        self.logger.log(Severity.INFO, "chatter")
        return b"an engine" if self.builds else None

    def _deserialize(self, data):
        if not self.loads:
            self.logger.log(Severity.ERROR, self.says)
            return None
        self.log.append(("load", data))
        return FakeEngine(self.log)


class FakeEngine:
    """One float32 input ``[1, 2]`` called ``in``, one output called ``output0``."""

    num_io_tensors = 2

    def __init__(self, log) -> None:
        self.log = log
        self.addresses: dict[str, int] = {}

    def get_tensor_name(self, index):
        return ("in", "output0")[index]

    def get_tensor_mode(self, name):
        return "input" if name == "in" else "output"

    def get_tensor_dtype(self, name):
        return SimpleNamespace(name="FLOAT")

    def get_tensor_shape(self, name):
        return (1, 2)

    def create_execution_context(self):
        return SimpleNamespace(set_tensor_address=self.addresses.__setitem__, execute_async_v3=self._execute)

    def _execute(self, stream):
        self.log.append(("execute", stream))
        view(self.addresses["output0"])[:] = 2 * view(self.addresses["in"])
        return True


def view(address: int) -> np.ndarray:
    """Two float32 numbers at an address."""
    return np.frombuffer((ctypes.c_byte * 8).from_address(address), np.float32)


class FakeCuda:
    """The CUDA runtime with host memory for the device's, and a clock that gains a millisecond with each event."""

    def __init__(self) -> None:
        self.stream = ctypes.c_void_p(7)
        self.kept: dict[int, object] = {}
        self.clock = 0.0
        self.freed = 0
        self.events: dict[int, float] = {}

    def allocate(self, size: int) -> int:
        buffer = ctypes.create_string_buffer(size)
        self.kept[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def allocate_host(self, shape, dtype) -> np.ndarray:
        return np.zeros(shape, dtype)

    def free(self, address: int) -> None:
        del self.kept[address]
        self.freed += 1

    def free_host(self, array) -> None:
        self.freed += 1

    def copy_in(self, address: int, host: int, size: int) -> None:
        ctypes.memmove(address, host, size)

    def copy_out(self, host: int, address: int, size: int) -> None:
        ctypes.memmove(host, address, size)

    def event(self) -> int:
        self.events[len(self.events)] = 0.0
        return len(self.events) - 1

    def record(self, event: int) -> None:
        self.clock += 1.0
        self.events[event] = self.clock

    def elapsed_ms(self, start: int, end: int) -> float:
        return self.events[end] - self.events[start]

    def wait(self) -> None:
        self.clock += 0.0

    def close(self) -> None:
        self.freed += 100
