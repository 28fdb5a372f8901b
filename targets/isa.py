"""Which vector and matrix extensions the host's CPU has: they decide speed and whether INT8 saturates."""

import platform
from pathlib import Path

KNOWN = {
    "avx2": "avx2",
    "avx_vnni": "avx_vnni",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "amx_tile": "amx_tile",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "amx_fp16": "amx_fp16",
    "asimd": "neon",
    "asimddp": "neon_dotprod",
    "i8mm": "neon_i8mm",
}
EXACT_INT8 = frozenset({"avx_vnni", "avx512_vnni", "amx_int8", "neon_dotprod", "neon_i8mm"})
CPUINFO = Path("/proc/cpuinfo")


def cpu_isa(cpuinfo: str) -> tuple[str, ...]:
    """Return the known extensions in the text of /proc/cpuinfo, in the order of ``KNOWN``."""
    words = {word for value in _values(cpuinfo, ("flags", "features")) for word in value.split()}
    return tuple(name for flag, name in KNOWN.items() if flag in words)


def cpu_name(cpuinfo: str) -> str:
    """Return the processor's name in the text of /proc/cpuinfo, or the machine's architecture."""
    names = _values(cpuinfo, ("model name",))
    return names[0] if names else platform.machine()


def accumulates_int8_exactly(isa: tuple[str, ...]) -> bool:
    """Say whether products of INT8 are summed in 32 bits; AVX2's vpmaddubsw sums pairs of them in 16 and saturates."""
    return not EXACT_INT8.isdisjoint(isa)


def read_cpuinfo() -> str:
    """Return the text of /proc/cpuinfo, empty on a system that has none."""
    return CPUINFO.read_text(encoding="utf-8") if CPUINFO.is_file() else ""


def _values(cpuinfo: str, keys: tuple[str, ...]) -> list[str]:
    pairs = (line.partition(":") for line in cpuinfo.splitlines())
    return [value.strip() for key, _, value in pairs if key.strip().lower() in keys]
