"""How a Jetson is powered and clocked while it is measured: nvpmodel, jetson_clocks and sysfs, recorded as they stand.

Nothing is changed: a person sets the mode (``sudo nvpmodel -m 0``) and pins the clocks (``sudo jetson_clocks``).
"""

import subprocess
from pathlib import Path

from targets.machine import FILES, machine_facts

COMMANDS = {"nvpmodel": ("nvpmodel", "-q"), "jetson_clocks": ("jetson_clocks", "--show")}
GPU = {
    "gpu": "sys/class/devfreq/*gpu*/{cur_freq,min_freq,max_freq}",
    "gpu_on_older_releases": "sys/devices/gpu.0/devfreq/*/{cur_freq,min_freq,max_freq}",
}
TIMEOUT_S = 20


def jetson_facts(root: Path = Path("/")) -> dict[str, str]:
    """Return what the system says of power mode, clocks and temperature; a command that is not here says so."""
    facts = {name: _ask(command) for name, command in COMMANDS.items()} | machine_facts(root, {**GPU, **FILES})
    return facts | {"clocks": clocks_pinned(facts)}


def clocks_pinned(facts: dict[str, str]) -> str:
    """Say whether the GPU's clock can move: it is pinned where its smallest and largest frequency are one."""
    frequencies = {name.rsplit("/", 1)[-1]: value for name, value in facts.items() if name.startswith("gpu")}
    if not {"min_freq", "max_freq"} <= set(frequencies):
        return "unknown: the GPU's frequencies cannot be read"
    if frequencies["min_freq"] == frequencies["max_freq"]:
        return "pinned"
    return "not pinned, so latencies move with load and heat: sudo jetson_clocks"


def _ask(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except FileNotFoundError:
        return "not installed"
    except (PermissionError, subprocess.TimeoutExpired) as error:
        return f"could not be asked: {type(error).__name__}"
    text = "; ".join(line.strip() for line in done.stdout.splitlines() if line.strip())
    return (
        text if done.returncode == 0 and text else f"answered nothing (exit code {done.returncode}; it may need root)"
    )
