"""The few CUDA runtime calls a session needs, through ctypes: a JetPack has libcudart, not always a Python binding."""

import ctypes
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import TargetUnavailable

LIBRARIES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12")
HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2
MAJOR, MINOR = 75, 76  # cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor


def load_cudart() -> ctypes.CDLL:
    """Load the CUDA runtime.

    Raises:
        TargetUnavailable: it is not on this machine.
    """
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise TargetUnavailable(
        "the CUDA runtime is not here",
        expected=f"one of {', '.join(LIBRARIES)}",
        got="none",
        where="the dynamic loader's path",
        fix="run on a Jetson with its JetPack installed, or use --execute emulation",
    )


class Cuda:
    """The CUDA runtime on device 0, with one stream; every call raises on an error code."""

    def __init__(self) -> None:
        self._lib = load_cudart()
        self._lib.cudaGetErrorString.restype = ctypes.c_char_p
        self.stream = ctypes.c_void_p()
        self._events: list[ctypes.c_void_p] = []
        self._call(self._lib.cudaStreamCreate, ctypes.byref(self.stream))

    def compute_capability(self) -> str:
        """Return the device's compute capability, e.g. "8.7"."""
        value, found = ctypes.c_int(), []
        for attribute in (MAJOR, MINOR):
            self._call(self._lib.cudaDeviceGetAttribute, ctypes.byref(value), attribute, 0)
            found.append(str(value.value))
        return ".".join(found)

    def allocate(self, size: int) -> int:
        """Return the address of ``size`` bytes of device memory."""
        address = ctypes.c_void_p()
        self._call(self._lib.cudaMalloc, ctypes.byref(address), ctypes.c_size_t(size))
        return int(address.value or 0)

    def allocate_host(self, shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
        """Return a page-locked host array, which a copy needs to run beside the device's work."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        address = ctypes.c_void_p()
        self._call(self._lib.cudaMallocHost, ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        memory = memoryview((ctypes.c_byte * size).from_address(int(address.value or 0))).cast("B")
        array: NDArray[np.generic] = np.frombuffer(memory, dtype=np.dtype(dtype)).reshape(shape)
        return array

    def free_host(self, array: NDArray[np.generic]) -> None:
        """Give a page-locked array back; it must not be used any more."""
        self._call(self._lib.cudaFreeHost, ctypes.c_void_p(array.ctypes.data))

    def event(self) -> ctypes.c_void_p:
        """Return a new event; ``close`` destroys it."""
        event = ctypes.c_void_p()
        self._call(self._lib.cudaEventCreate, ctypes.byref(event))
        self._events.append(event)
        return event

    def record(self, event: ctypes.c_void_p) -> None:
        """Let an event happen when everything queued so far is done."""
        self._call(self._lib.cudaEventRecord, event, self.stream)

    def elapsed_ms(self, start: ctypes.c_void_p, end: ctypes.c_void_p) -> float:
        """Return the milliseconds between two events that have happened, half a microsecond exact."""
        spent = ctypes.c_float()
        self._call(self._lib.cudaEventElapsedTime, ctypes.byref(spent), start, end)
        return float(spent.value)

    def free(self, address: int) -> None:
        """Give device memory back."""
        self._call(self._lib.cudaFree, ctypes.c_void_p(address))

    def copy_in(self, address: int, host: int, size: int) -> None:
        """Queue a copy of ``size`` bytes from host memory to the device."""
        self._copy(address, host, size, HOST_TO_DEVICE)

    def copy_out(self, host: int, address: int, size: int) -> None:
        """Queue a copy of ``size`` bytes from the device to host memory."""
        self._copy(host, address, size, DEVICE_TO_HOST)

    def wait(self) -> None:
        """Wait until everything queued is done."""
        self._call(self._lib.cudaStreamSynchronize, self.stream)

    def close(self) -> None:
        """Destroy the events and the stream."""
        while self._events:
            self._call(self._lib.cudaEventDestroy, self._events.pop())
        self._call(self._lib.cudaStreamDestroy, self.stream)

    def _copy(self, to: int, source: int, size: int, kind: int) -> None:
        self._call(
            self._lib.cudaMemcpyAsync,
            ctypes.c_void_p(to),
            ctypes.c_void_p(source),
            ctypes.c_size_t(size),
            kind,
            self.stream,
        )

    def _call(self, function: Callable[..., int], *arguments: object) -> None:
        code = function(*arguments)
        if code:
            text = self._lib.cudaGetErrorString(code).decode()
            raise TargetUnavailable(
                "a CUDA call failed",
                expected="error code 0",
                got=f"{code}: {text}",
                where=getattr(function, "__name__", "libcudart"),
                fix="if memory ran out, close other programs or build with a smaller workspace; else check the driver with nvidia-smi or tegrastats",
            )
