"""What a latency on this machine depends on, read from sysfs as it is; nothing is changed."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

FILES = MappingProxyType(
    {
        "cpu0": "sys/devices/system/cpu/cpu0/cpufreq/{scaling_cur_freq,scaling_max_freq,scaling_governor}",
        "cores": "sys/devices/system/cpu/{online}",
        "temperature": "sys/class/thermal/thermal_zone*/{type,temp}",
        "model": "proc/device-tree/{model}",
    }
)


def machine_facts(root: Path = Path("/"), files: Mapping[str, str] = FILES) -> dict[str, str]:
    """Return the content of each file that is here; a key of ``files`` goes before its path."""
    facts: dict[str, str] = {}
    for name, pattern in files.items():
        folder, _, listed = pattern.partition("{")
        for leaf in listed.rstrip("}").split(","):
            for path in sorted(root.glob(f"{folder}{leaf}")):
                facts[f"{name}: {path.relative_to(root)}"] = _read(path)
    return facts


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError as error:
        return f"unreadable: {error.strerror}"
