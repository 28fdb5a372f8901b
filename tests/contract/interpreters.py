"""The Python interpreters of this machine that a device may have, each with a fresh environment of what a device installs."""

import fcntl
import functools
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from bundle.base.errors import RUNTIMES
from targets.table import TARGETS
from tests.architecture.source import ROOT

INSTALLABLE = [name for name, one in TARGETS.items() if not one.profile.system_package]
"""The targets whose device half is installed with pip."""
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
PINS = ROOT / "constraints" / "device.txt"
READY = "ready"
OFFLINE = "connection broken"  # pip's words, before it says that it found no version
ABOUT = "import ensurepip, sys, venv; print('{}.{}'.format(*sys.version_info), sys.executable)"


@functools.cache
def find(version: str) -> Path | None:
    """Return the interpreter of a version: on PATH, or where pyenv keeps it, whose command on PATH may start another one."""
    kept = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python")
    for candidate in (shutil.which(f"python{version}"), *map(str, kept)):
        done = candidate and subprocess.run([candidate, "-I", "-c", ABOUT], capture_output=True, text=True, check=False)
        if done and done.stdout.startswith(f"{version} "):
            return Path(done.stdout.split(maxsplit=1)[1].strip())
    return None


def environment(version: str, kept: Path) -> Path:
    """Return the Python of a fresh environment in ``kept``, made once for these packages; skip without interpreter or network."""
    found = find(version)
    if found is None:
        pytest.skip(f"no Python {version} with venv is on this machine")
    wanted = [*_packages(), f"--constraint={PINS}"]
    key = hashlib.sha256("\n".join([*wanted, str(found), PINS.read_text(encoding="utf-8")]).encode()).hexdigest()[:12]
    folder = kept / f"{version}-{key}"
    with (kept / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests may run in several processes
        if not (folder / READY).is_file():
            for old in kept.glob(f"{version}-*"):
                shutil.rmtree(old)
            _make(found, folder, wanted)
    return folder / "bin" / "python"


def _packages() -> list[str]:
    """What a device has: the extra's packages within their pins, the runtimes that a host pins, and PyAV for videos."""
    lines = (ROOT / "constraints" / "host.txt").read_text(encoding="utf-8").splitlines()
    runtimes = {name for target in INSTALLABLE for name in TARGETS[target].profile.distributions}
    found = [line for line in lines if line and line[0] != "#" and Requirement(line).name in runtimes]
    return ["numpy", "pydantic", "pytest", RUNTIMES["av"], *found]


def _make(interpreter: Path, folder: Path, wanted: list[str]) -> None:
    subprocess.run([str(interpreter), "-I", "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-I", "-m", "pip", "--python", str(folder / "bin" / "python"), "--disable-pip-version-check"]
    options = ["--quiet", "--no-input", "--no-compile", "--only-binary=:all:", "--retries=1", "--timeout=30"]
    done = subprocess.run([*pip, "install", *options, *wanted], capture_output=True, text=True, check=False)
    if done.returncode and OFFLINE in done.stderr:
        pytest.skip(f"what a device installs cannot be fetched here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    (folder / READY).touch()
