"""NVIDIA's own benchmark tool on an engine, beside our timing: ``trtexec``, where the device has it.

trtexec feeds random numbers and queues one inference ahead; its Latency is copy in + compute + copy out of one inference,
its GPU Compute Time the engine alone. It is read from the performance summary that trtexec prints.
Written against TensorRT 10.3 to 11.4; it has not run on hardware yet.
"""

import re
import shutil
import subprocess
from pathlib import Path

from bundle.base.errors import TargetUnavailable

JETPACK = Path("/usr/src/tensorrt/bin/trtexec")  # where a JetPack puts it, outside PATH
GRACE_S = 300  # for loading the engine
WARMUP_MS = 500
_MEDIAN = re.compile(r"\] (Latency|GPU Compute Time): .*?median = ([0-9.]+) ms")


def find_trtexec() -> Path:
    """Return the tool's path.

    Raises:
        TargetUnavailable: it is not on this device.
    """
    found = shutil.which("trtexec") or (str(JETPACK) if JETPACK.is_file() else None)
    if found is None:
        raise TargetUnavailable(
            "trtexec is not on this device",
            expected=f"trtexec in PATH, or {JETPACK}",
            got="neither",
            where="PATH",
            fix="sudo apt install libnvinfer-bin, or leave --tool-seconds out: our own timing does not need it",
        )
    return Path(found)


def time_with_trtexec(engine: Path, *, seconds: int) -> tuple[float, float, dict[str, str]]:
    """Return trtexec's median Latency and median GPU Compute Time in milliseconds, and its arguments and summary as text.

    Raises:
        TargetUnavailable: the tool is not here, or it failed; its last words are in the text.
    """
    arguments = [f"--loadEngine={engine.resolve()}", f"--duration={seconds}", f"--warmUp={WARMUP_MS}"]
    command = [str(find_trtexec()), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise _failed(f"no end after {error.timeout:.0f} s", command) from error
    medians = {name: float(value) for name, value in _MEDIAN.findall(done.stdout)}
    if done.returncode or set(medians) != {"Latency", "GPU Compute Time"}:
        said = (done.stdout + done.stderr).strip().splitlines()[-3:] or ["nothing"]
        raise _failed(" ".join(said), command)
    settings = {"arguments": " ".join(arguments[1:])} | _summary(done.stdout)
    return medians["Latency"], medians["GPU Compute Time"], settings


def _summary(said: str) -> dict[str, str]:
    """Return the lines of the performance summary by their names, without the time stamps before them."""
    lines = said.partition("=== Performance summary ===")[2].splitlines()
    pairs = (line.rpartition("] ")[2].partition(": ") for line in lines)
    return {name: value for name, colon, value in pairs if (colon and " = " in value) or name == "Throughput"}


def _failed(got: str, command: list[str]) -> TargetUnavailable:
    return TargetUnavailable(
        "trtexec did not finish",
        expected="a performance summary",
        got=got,
        where=" ".join(command),
        fix="leave --tool-seconds out, or run the command by hand",
    )
