"""``tdss doctor``: what this machine has for each use of the project, and the command that installs what it lacks."""

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Annotated

import typer

from bundle.base.errors import TargetUnavailable, install_command, not_installed
from bundle.base.frozen import Frozen
from bundle.base.terminal import print_answer
from bundle.base.version import DISTRIBUTION, version_text
from targets.base import RunConfig
from targets.isa import cpu_isa, cpu_name, read_cpuinfo
from targets.table import TARGETS

ABSENT = "0.dev0"  # within no range
USES = {name: target.profile.extra for name, target in TARGETS.items()} | {
    "train": "train",
    "fleet": "fleet",
    "prove": "proof",
    "bench": "dev",
}
"""What each use is called, a target first, and the extra of pyproject.toml that it needs."""


class Use(Frozen):
    """A use's packages with their versions, what is missing of them, and the command that installs it, "" for none."""

    packages: dict[str, str]
    missing: tuple[str, ...]
    install: str


class Machine(Frozen):
    """A machine as it is. ``runtimes`` says per target what would run a graph; ``devices`` are those they list."""

    version: str
    python: str
    system: str
    processor: str
    isa: tuple[str, ...]
    runtimes: dict[str, str]
    devices: tuple[str, ...]
    uses: dict[str, Use]


def main(as_json: Annotated[bool, typer.Option("--json", help="Print what there is as JSON.")] = False) -> None:
    """Say what this machine has and lacks for each use: packages, runtimes, devices, instruction sets.

    Exit codes: 0 what a target needs is here, 3 there is none.

    Example: tdss doctor --json
    """
    machine = examine()
    print_answer(machine.model_dump_json() if as_json else "\n".join(lines(machine)))
    if all(machine.uses[name].missing for name in TARGETS):
        raise SystemExit(TargetUnavailable.exit_code)


def examine() -> Machine:
    """Look at the installed packages, at each target's runtime and at the processor."""
    cpuinfo = read_cpuinfo()
    return Machine(
        version=version_text(),
        python=f"{platform.python_version()} ({sys.executable})",
        system=platform.platform(),
        processor=cpu_name(cpuinfo),
        isa=cpu_isa(cpuinfo),
        runtimes={name: _runtime(name) for name in TARGETS},
        devices=tuple(device for target in TARGETS.values() for device in target.devices()),
        uses={name: _use(extra) for name, extra in USES.items()},
    )


def _runtime(name: str) -> str:
    try:
        able = TARGETS[name].capabilities(RunConfig())
    except TargetUnavailable as error:
        return f"none: {error.message}"
    return f"{able.runtime}, {able.device}: {able.device_name}, {' '.join(able.precisions)}"


def _use(extra: str) -> Use:
    from packaging.specifiers import SpecifierSet

    needed = sorted(set(_requirements(extra)))
    here = {name: _installed(name) for name, _ in needed}
    missing = tuple(f"{name}{wanted}" for name, wanted in needed if here[name] not in SpecifierSet(wanted))
    return Use(
        packages={name: number for name, number in here.items() if number != ABSENT},
        missing=missing,
        install=install_command(extra) if missing else "",
    )


def _requirements(extra: str) -> Iterator[tuple[str, str]]:
    """Yield the packages that an extra asks for, and those of the extras that it holds, each with its versions."""
    from packaging.requirements import Requirement

    for line in _metadata():
        row = Requirement(line)
        if row.marker is not None and not row.marker.evaluate({"extra": extra}):
            continue
        if row.name != DISTRIBUTION:
            yield row.name, str(row.specifier)
        for inner in row.extras if row.name == DISTRIBUTION else ():
            yield from _requirements(inner)


def _metadata() -> list[str]:
    try:
        return requires(DISTRIBUTION) or []
    except PackageNotFoundError as error:
        raise not_installed("tdss doctor", DISTRIBUTION, extra="host", where=sys.executable, error=error) from error


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ABSENT


def lines(machine: Machine) -> Iterator[str]:
    """Yield a machine as text."""
    yield f"{machine.version}, Python {machine.python}, {machine.system}"
    yield f"processor  {machine.processor}: {' '.join(machine.isa) or 'no known extension'}"
    yield f"devices    {', '.join(machine.devices) or 'none'}"
    for name, runtime in machine.runtimes.items():
        yield f"{name:10} runs on {runtime}"
    for name, use in machine.uses.items():
        yield f"{name:10} " + (f"lacks {', '.join(use.missing)}\n{'':11}fix: {use.install}" if use.missing else "ready")
    packages = {name: number for use in machine.uses.values() for name, number in use.packages.items()}
    yield f"packages   {', '.join(f'{name} {number}' for name, number in sorted(packages.items()))}"
