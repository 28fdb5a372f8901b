"""What TensorRT says while it works, kept line by line, and whether it says that memory ran out."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bundle.base.errors import TargetUnavailable

if TYPE_CHECKING:
    import tensorrt

MEMINFO = Path("/proc/meminfo")
KEPT_LINES = 3
OUT_OF_MEMORY = re.compile(r"out ?of ?memory|bad_alloc|cudaErrorMemoryAllocation|memory is insufficient", re.IGNORECASE)
FIX = (
    "free memory, then run the same command again (what was built is kept): close the desktop with 'sudo systemctl isolate "
    "multi-user.target', stop other programs, add swap, or build with less scratch memory: --workspace {less}"
)


def recording_logger(lines: list[str]) -> "tensorrt.ILogger":
    """Return a logger that appends TensorRT's warnings and errors to ``lines``."""
    import tensorrt as trt

    class Recorder(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INFO, trt.ILogger.Severity.VERBOSE):
                return
            lines.append(f"{severity.name}: {msg}")

    return Recorder()


def ran_out(lines: list[str]) -> bool:
    """Say whether TensorRT's own words name memory as what was missing."""
    return any(OUT_OF_MEMORY.search(line) for line in lines)


def last(lines: list[str]) -> str:
    """Return the last errors for people; warnings where there is none."""
    errors = [line for line in lines if not line.startswith("WARNING")]
    return "; ".join((errors or lines)[-KEPT_LINES:]) or "TensorRT said nothing"


def no_memory(doing: str, got: str, where: str, workspace_mib: int) -> TargetUnavailable:
    """Return the error for a device whose memory ran out; the caller raises it."""
    return TargetUnavailable(
        f"the device ran out of memory while {doing}",
        expected="enough free memory, which CPU and GPU share on a Jetson",
        got=f"{got} ({free_memory()})",
        where=where,
        fix=FIX.format(less=max(64, workspace_mib // 4)),
    )


def free_memory(path: Path = MEMINFO) -> str:
    """Say how much memory and swap is free, from /proc/meminfo."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = dict(re.findall(r"^(MemAvailable|MemTotal|SwapFree):\s+(\d+) kB$", text, re.MULTILINE))
    if len(found) < 3:
        return "free memory unknown"
    available, total, swap = (int(found[name]) // 1024 for name in ("MemAvailable", "MemTotal", "SwapFree"))
    return f"{available} of {total} MiB free, {swap} MiB of swap"
