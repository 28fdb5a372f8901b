"""The file a device's user sends back: the results of one decision with their hashes, small, as one archive."""

import re
import zipfile
from pathlib import Path

from bundle.formats.contents import ENGINES, MANIFEST
from bundle.formats.hash_files import with_hashes
from bundle.formats.manifest import Bundle
from bundle.formats.outputs import overwriting, require_file, zip_with
from bundle.judging.choice import BENCH, CHOICE
from bundle.judging.regression_report import RESULT

SENT = (RESULT, BENCH, CHOICE, MANIFEST)
ARCHIVES = zip_with(*SENT)  # what the file to send back may be written over


def sendback_path(bundle: Bundle, device_name: str) -> Path:
    """Return ``<model>-<target>-<device>-results.zip`` beside the bundle, the device's name written in plain letters."""
    device = re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-")[:40]
    manifest = bundle.manifest
    return bundle.folder.resolve().with_name(f"{manifest.name}-{manifest.target}-{device}-results.zip")


def prepare_sendback(path: Path, bundle: Path) -> None:
    """See that the file to send back can be written, before anything is measured.

    Raises:
        InputError: it cannot, something else is there, or it would lie in the bundle.
    """
    require_file(path, ARCHIVES, [bundle])


def write_sendback(folder: Path, path: Path) -> Path:
    """Write regression.json, bench.json, choice.json, the manifest and the keys of the engines (not the engines) as ``path``.

    Each result has its hash and names its bundle, so the receiver can tell that it is complete and what it belongs to:
    ``tdss report`` reads the archive as it is. A file that is there already is replaced whole, or not at all.
    """
    keys = sorted((folder / ENGINES).glob("*.json"))
    with overwriting(path, ARCHIVES) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in with_hashes(*SENT):
            archive.write(folder / name, name)
        for key in keys:
            archive.write(key, f"{ENGINES}/{key.name}")
    return path
