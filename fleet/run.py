"""Every device at once, up to a limit: what is here already is not judged again, and what comes back is checked."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from bundle.base.errors import ArtifactError
from bundle.formats.outputs import overwriting
from fleet.devices import Device, Fleet
from fleet.parcel import Parcel, key_of, read_received
from fleet.rows import Lacking, Row, judged, lacking
from report.results_page import Result
from targets.sendback import ARCHIVES

Judge: TypeAlias = Callable[[str, Device, Parcel], Awaitable[bytes]]
"""Have a device judge the parcel and return its results archive, or raise ``Lacking``."""


async def run_fleet(fleet: Fleet, sent: Parcel, out: Path, judge: Judge) -> tuple[Row, ...]:
    """Return the row of each device, in the order of the file; their results archives are written into ``out``.

    Raises:
        ArtifactError: a results archive in ``out`` is damaged, before any device is asked.
        InputError: a results archive cannot be written.
    """
    kept = {name: _kept(_path(out, name, device, sent), sent) for name, device in fleet.devices.items()}
    limit, turns = asyncio.Semaphore(fleet.parallel), defaultdict[str, asyncio.Lock](asyncio.Lock)

    async def row(name: str, device: Device) -> Row:
        if (there := kept[name]) is not None:
            return judged(name, device.host, there, earlier=True)
        try:
            _require_target(device, sent)
            async with turns[device.host], limit:  # two rows of one machine are timed one after the other
                content = await judge(name, device, sent)
            path = _path(out, name, device, sent)
            _keep(path, content, sent)
        except Lacking as error:
            return lacking(name, device.host, device.target, error)
        return judged(name, device.host, read_received(path, sent.bundle), earlier=False)

    return tuple(await asyncio.gather(*(row(name, device) for name, device in fleet.devices.items())))


def _path(out: Path, name: str, device: Device, sent: Parcel) -> Path:
    return out / f"{name}-{key_of(sent, device)[:16]}.zip"


def _kept(path: Path, sent: Parcel) -> Result | None:
    return read_received(path, sent.bundle) if path.exists() else None


def _require_target(device: Device, sent: Parcel) -> None:
    if device.target != sent.manifest.target:
        raise Lacking("wrong", f"the bundle is for {sent.manifest.target}, and this device is a {device.target}")


def _keep(path: Path, content: bytes, sent: Parcel) -> None:
    """Write a results archive if it is one of this bundle; else nothing is left of it."""
    with overwriting(path, ARCHIVES) as temporary:
        temporary.write_bytes(content)
        try:
            read_received(temporary, sent.bundle)
        except ArtifactError as error:
            raise Lacking("wrong", f"what it sent back is refused: {error.message}; got {error.got}") from error
