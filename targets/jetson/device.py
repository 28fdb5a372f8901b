"""Is there a TensorRT here, and which? Asked in a subprocess, for its import can end the process."""

import json
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from bundle.base.errors import TargetUnavailable
from bundle.base.frozen import Frozen
from bundle.base.isolated import program
from targets.jetson.cuda import Cuda

PROBE = "import json, tensorrt; print(json.dumps(tensorrt.__version__))"
TIMEOUT_S = 120
BOARD = Path("/proc/device-tree/model")
L4T = Path("/etc/nv_tegra_release")
MINIMUM = (10, 3)
LIBRARY = re.compile(r"(lib\S+\.so[\w.]*): cannot open shared object file")


class Device(Frozen):
    """One NVIDIA device: its board, compute capability, Jetson Linux release ("" off Jetson) and TensorRT version."""

    board: str
    compute_capability: str
    jetson_linux: str
    tensorrt: str


def tensorrt_version() -> str:
    """Return TensorRT's version, asked in a subprocess once per process.

    Raises:
        TargetUnavailable: it is not installed, cannot be imported, or is older than 10.3.
    """
    done = _probe()
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise TargetUnavailable(
            "TensorRT cannot be imported",
            expected="the Python package tensorrt of a JetPack",
            got=last,
            where=sys.executable,
            fix=_fix(last),
        )
    version = str(json.loads(done.stdout.splitlines()[-1]))
    if version_of(version) < MINIMUM:
        raise TargetUnavailable(
            "this TensorRT is too old",
            expected="10.3 or newer",
            got=version,
            where=sys.executable,
            fix="install JetPack 6.1 or newer",
        )
    return version


def _fix(said: str) -> str:
    """Say what to do about an import that failed with these words."""
    if library := LIBRARY.search(said):
        return (
            f"TensorRT is here and its library {library.group(1)} is not: in a container take an image of the device's own "
            "JetPack, and start it with --runtime nvidia; on the device sudo apt install nvidia-jetpack"
        )
    return (
        "on a Jetson start the system's Python, or one of an environment with --system-site-packages; "
        "on another device pip install -e .[tensorrt]; on a host use --execute emulation"
    )


@lru_cache(maxsize=1)
def _probe() -> "subprocess.CompletedProcess[str]":
    command = program(PROBE)
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer in {TIMEOUT_S} s")


def version_of(text: str) -> tuple[int, int]:
    """Return (major, minor) of a version such as "10.3.0.30"."""
    major, minor = text.split(".")[:2]
    return int(major), int(minor)


def find_device() -> Device:
    """Describe the device this process would run on.

    Raises:
        TargetUnavailable: TensorRT or the CUDA runtime is missing.
    """
    version = tensorrt_version()
    cuda = Cuda()
    capability = cuda.compute_capability()
    cuda.close()
    board = BOARD.read_text(encoding="utf-8").rstrip("\0\n") if BOARD.is_file() else "NVIDIA GPU"
    return Device(board=board, compute_capability=capability, jetson_linux=_jetson_linux(), tensorrt=version)


def _jetson_linux() -> str:
    text = L4T.read_text(encoding="utf-8") if L4T.is_file() else ""
    found = re.search(r"R(\d+).*?REVISION: ([\d.]+)", text)
    return f"{found.group(1)}.{found.group(2)}" if found else ""
