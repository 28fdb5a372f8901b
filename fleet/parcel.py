"""What goes to each device, and what comes back: the archive, the runtime file, and the results of this bundle only."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bundle.base.errors import ArtifactError
from bundle.formats.contents import MANIFEST
from bundle.formats.manifest import Manifest, verify_bundle
from bundle.formats.results import read_manifest_bytes
from bundle.transport.archive import pack
from device_runtime.write import RUNTIME, write_runtime
from fleet.devices import Device
from report.results_page import Result, from_folder, take_out

ARCHIVE = "bundle.zip"


class Parcel(NamedTuple):
    """The two files that a device gets; ``bundle`` and ``runtime`` are the sha256 of the manifest and of the runtime file."""

    manifest: Manifest
    bundle: str
    runtime: str
    files: tuple[Path, Path]


@contextmanager
def parcel(folder: Path) -> Iterator[Parcel]:
    """Yield the archive of a verified bundle and the runtime file of this checkout, in a folder that is removed at the end.

    Raises:
        ArtifactError: a file of the bundle is missing or was altered.
        InputError: this is no checkout, which alone can make the runtime file.
    """
    opened = verify_bundle(folder)
    with tempfile.TemporaryDirectory(prefix="tdss-fleet.") as scratch:
        runtime, archive = Path(scratch, RUNTIME), Path(scratch, ARCHIVE)
        write_runtime(runtime)
        pack(folder, archive)
        digest = hashlib.sha256(runtime.read_bytes()).hexdigest()
        yield Parcel(opened.manifest, read_manifest_bytes(folder)[1], digest, (runtime, archive))


def key_of(sent: Parcel, device: Device) -> str:
    """Return the sha256 that a result is kept under: of the bundle, the runtime, the device's address and how it judges."""
    how = device.model_dump(include={"host", "port", "user", "python", "judge"})
    facts = {"bundle": sent.bundle, "runtime": sent.runtime, **how}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_received(path: Path, bundle: str) -> Result:
    """Read the results archive that a device sent back for the bundle whose manifest has the sha256 ``bundle``.

    Of the archive three files and their hashes are read, by exact name and bounded size. Each must name this bundle.

    Raises:
        ArtifactError: it cannot be read, was altered, holds no result, or is of another bundle.
    """
    with tempfile.TemporaryDirectory(prefix="tdss-fleet.") as scratch:
        folder = Path(scratch)
        take_out(path, folder)
        got = read_manifest_bytes(folder)[1] if (folder / MANIFEST).is_file() else "no manifest"
        if got != bundle:
            raise ArtifactError(
                "these are not this bundle's results",
                expected=f"results of bundle {bundle[:16]}…",
                got=f"{got[:16]}…" if len(got) > 16 else got,
                where=str(path),
                fix="delete the file, and the device judges again",
            )
        return from_folder(folder, str(path))
