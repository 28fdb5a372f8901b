"""The file a device's person sends back: the sealed results of one decision, small, as one archive."""

import re
import zipfile
from pathlib import Path

from bundle.choice import BENCH, CHOICE
from bundle.engines import ENGINES
from bundle.outcome import RESULT
from bundle.seals import MANIFEST

SENT = (RESULT, BENCH, CHOICE, MANIFEST)


def sendback_path(folder: Path, device_name: str) -> Path:
    """Return ``<bundle>-<device>-results.zip`` beside the bundle, the device's name written in plain letters."""
    device = re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-")[:40]
    resolved = folder.resolve()
    return resolved.with_name(f"{resolved.parent.name}-{resolved.name}-{device}-results.zip")


def write_sendback(folder: Path, path: Path) -> Path:
    """Write regression.json, bench.json, choice.json, the manifest and the keys of the engines (not the engines) as ``path``.

    Each result carries its seal and the bundle's, so the receiver can tell that it is whole and what it belongs to;
    ``tdss report`` reads it after unzip.
    """
    keys = sorted((folder / ENGINES).glob("*.json"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in SENT:
            archive.write(folder / name, name)
        for key in keys:
            archive.write(key, f"{ENGINES}/{key.name}")
    return path
