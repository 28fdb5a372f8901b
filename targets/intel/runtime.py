"""The OpenVINO runtime: importing it, naming its devices, and the NumPy names of its types."""

from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

from bundle.base.errors import GraphError, TargetUnavailable, not_installed
from bundle.base.telemetry import switch_off_telemetry
from bundle.formats.artifacts import TensorSpec

if TYPE_CHECKING:
    from openvino import Core

VIRTUAL = ("AUTO", "HETERO", "MULTI")
DTYPES = {
    "f32": "float32",
    "f16": "float16",
    "f64": "float64",
    "u8": "uint8",
    "i8": "int8",
    "u16": "uint16",
    "i32": "int32",
    "i64": "int64",
    "boolean": "bool",
}


def import_openvino() -> ModuleType:
    """Import OpenVINO.

    Raises:
        TargetUnavailable: it is not installed.
    """
    switch_off_telemetry()
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise not_installed(
            "the target intel", "openvino", extra="device-intel", where="targets.intel", error=error
        ) from error
    module: ModuleType = openvino
    return module


@lru_cache(maxsize=1)
def shared_core() -> "Core":
    """Return this process's one OpenVINO core, for loading the device plugins takes time; properties are given per model.

    Raises:
        TargetUnavailable: OpenVINO is not installed.
    """
    return import_openvino().Core()


def check_device(core: "Core", device: str) -> None:
    """Check that every device in ``device`` is on this machine: "CPU", "GPU.1", "AUTO", "AUTO:GPU,CPU".

    Raises:
        TargetUnavailable: one is not; the message names those that are.
    """
    kind, _, listed = device.partition(":")
    wanted = [name for name in listed.split(",") if name] if kind in VIRTUAL else [device]
    available = list(core.available_devices)
    for name in wanted:
        if not any(have == name or have.startswith(f"{name}.") for have in available):
            raise TargetUnavailable(
                f"OpenVINO has no device {name!r} here",
                expected=f"one of {', '.join(available)}, or AUTO",
                got=device,
                where="the device setting",
                fix=f"choose a device that is here, or install the driver of {name}",
            )


def may_use_cpu(device: str) -> bool:
    """Say whether a device setting can end on the CPU: "CPU", or a virtual device, which falls back on it."""
    return device.partition(":")[0] in ("CPU", *VIRTUAL)


def tensor_spec(name: str, dtype: str, shape: tuple[int, ...] | None, where: str) -> TensorSpec:
    """Describe an input or output; ``shape`` is None when it is not static.

    Raises:
        GraphError: the shape is not static, or the type is not one of ``DTYPES``.
    """
    if shape is None or dtype not in DTYPES:
        raise GraphError(
            f"{name!r} cannot be fed or read",
            expected="a tensor of a plain type and static shape",
            got=f"{dtype} {shape}",
            where=where,
            fix="export the model with static shapes",
        )
    return TensorSpec(name=name, dtype=DTYPES[dtype], shape=shape)
