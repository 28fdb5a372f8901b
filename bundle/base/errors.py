"""Every error this project raises on purpose, and the exit code each one ends a command with.

ProjectError                    (never raised itself)
├── InputError            2     the caller gave something that cannot be used
│   ├── ConfigError             a key, value or file of a configuration
│   ├── CheckpointError         a checkpoint folder or its tensors
│   ├── DatasetError            an image, a label or a split of a labelled folder
│   ├── ArtifactError           a file of a bundle or a stage that is missing or altered
│   └── GraphError              an ONNX or OpenVINO graph that breaks a stage's precondition
├── RegressionFailed      1     a compiled model is not within its budgets
├── PlanFailed            1     a quantized graph's plan is worse than the FP16 graph's
├── SessionFailed         3     a runtime raised an error of its own while it ran a model, or hung
└── TargetUnavailable     3     a runtime or device is missing on this machine

What is raised by mistake ends with 4 (bundle/base/terminal.py).
"""

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import ClassVar

from bundle.base.escaping import escaped
from bundle.base.isolated import ROOT

DEBUG = "TDSS_DEBUG"
BASE = ("numpy>=1.26", "pydantic>=2.7,<3", "pytest>=8")  # what pyproject.toml asks for on every device
RUNTIMES: Mapping[str, str] = MappingProxyType(
    {
        "av": "av>=17,<20",
        "cryptography": "cryptography>=42",
        "onnxruntime": "onnxruntime>=1.23",
        "openvino": "openvino>=2026.4",
        "pillow": "pillow>=11",
    }
)


class ProjectError(Exception):
    """A failure that says what was expected, what came, where, and how to fix it."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, expected: str, got: str, where: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected
        self.got = got
        self.where = where
        self.fix = fix

    def __reduce__(self) -> tuple[Callable[[], "ProjectError"], tuple[()]]:
        """Keep the facts where an error comes from another process."""
        facts = {"expected": self.expected, "got": self.got, "where": self.where, "fix": self.fix}
        return partial(type(self), self.message, **facts), ()

    def __str__(self) -> str:
        facts = {"expected:": self.expected, "got:": self.got, "where:": self.where, "fix:": self.fix}
        lines = [f"  {name:<9} {_shown(fact)}" for name, fact in facts.items()]
        return escaped("\n".join([_shown(self.message), *lines]))


def _shown(fact: str) -> str:
    """Return one line of a library's many; with TDSS_DEBUG in the environment all, indented: none can pass for a line of ours."""
    lines = fact.strip().splitlines()
    if len(lines) < 2:
        return fact
    if os.environ.get(DEBUG):
        return f"\n{'':12}".join(lines)
    telling = (line.strip() for line in lines if line.strip() and not line.rstrip().endswith(":"))
    return f"{next(telling, lines[0])} ({len(lines) - 1} more lines with {DEBUG}=1)"


class InputError(ProjectError):
    """The caller gave something that cannot be used."""


class ConfigError(InputError):
    """A key, a value or a file of a configuration is wrong."""


class CheckpointError(InputError):
    """A checkpoint folder or one of its tensors is wrong."""


class DatasetError(InputError):
    """An image, a label or a split of a labelled folder is wrong."""


class ArtifactError(InputError):
    """A file of a bundle or of a stage is missing or was altered."""


class GraphError(InputError):
    """A graph breaks the precondition of the stage that reads it."""


class RegressionFailed(ProjectError):
    """A compiled model is not within its budgets on every task."""

    exit_code: ClassVar[int] = 1


class PlanFailed(ProjectError):
    """What a device's compiler makes of a quantized graph is worse than what it makes of the FP16 graph."""

    exit_code: ClassVar[int] = 1


class SessionFailed(ProjectError):
    """A runtime raised an error of its own in the middle of a run, or did not come back in time."""

    exit_code: ClassVar[int] = 3


class TargetUnavailable(ProjectError):
    """A runtime or a device that a target needs is missing on this machine."""

    exit_code: ClassVar[int] = 3


def system_reason(error: OSError) -> str:
    """Return why the system refused a file, without its number and its path."""
    missing = isinstance(error, FileNotFoundError) and error.strerror is not None
    return "no such file or folder" if missing else error.strerror or str(error)


def not_installed(what: str, package: str, *, extra: str, where: str, error: ImportError) -> TargetUnavailable:
    """Return the error for ``what`` needs a package that is not here; ``extra`` is the one of pyproject.toml that has it."""
    return TargetUnavailable(
        f"{what} needs {package}, which is not installed",
        expected=f"the Python package {package}",
        got=str(error),
        where=where,
        fix=_install(package, extra),
    )


def _install(package: str, extra: str) -> str:
    """Say how to install a package: by pip alone for the device runtime, which has no checkout."""
    if ROOT.is_dir():
        return f"make env in this project's checkout, or: {install_command(extra)}"
    wanted = [RUNTIMES[package]] if package in RUNTIMES else [*BASE]
    return f"{shlex.quote(sys.executable)} -m pip install {shlex.join(wanted)}"


def install_command(extra: str) -> str:
    """Return the command that installs an extra of pyproject.toml for this Python, at the versions that were tested."""
    pip = f"{sys.executable} -m pip install"
    if not (ROOT / "pyproject.toml").is_file():
        return f"{pip} 'WHEEL[{extra}]', with the path of the wheel that was installed"
    pins = "host" if sys.version_info >= (3, 11) else "device"  # host.txt needs 3.11
    return f"cd {ROOT} && {pip} --constraint constraints/{pins}.txt --editable '.[{extra}]'"
