"""Make ``tdss-runtime.pyz``: the packages that a device needs and the regression suite, as one zip file that Python runs.

It has the layout of ``zipapp``, whose own writer stores local times and the permissions of the files. Here the entries are
sorted, the times are fixed and nothing is compressed. So the same source is the same bytes on each machine and Python.
"""

import hashlib
import io
import zipfile
from pathlib import Path

from bundle.base.errors import InputError
from bundle.base.isolated import ROOT
from bundle.base.zip_entries import new_entry
from bundle.formats.hash_files import write_hashed
from bundle.formats.outputs import require_file, zip_with
from bundle.transport.commands import Answer, pack
from device_runtime.suite import INSIDE, SETTINGS, SUITE
from targets.target_profile import FILE as PROFILE

RUNTIME = "tdss-runtime.pyz"
PACKAGES = ("bundle", "device_runtime", "predict", "targets")
SHEBANG = b"#!/usr/bin/env python3\n"
START = "__main__.py"  # what Python runs of a zip file
EARLIER = zip_with(START, "device_runtime/__init__.py")  # what a runtime file may be written over


def write_runtime(out: Path) -> Answer:
    """Write the runtime file and its hash, and say what it is; an earlier one is replaced.

    Raises:
        InputError: another file is at ``out``, or this is no checkout, which alone has the suite.
    """
    require_runtime(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    made = content()
    write_hashed(out, made)
    digest = hashlib.sha256(made).hexdigest()
    text = f"{out}: {len(made) / 1e6:.1f} MB, sha256 {digest}\n"
    return Answer(text, {"runtime": str(out), "bytes": len(made), "sha256": digest})


def pack_with_runtime(folder: Path, out: Path | None) -> Answer:
    """Write a bundle as one archive, as ``bundle.transport.commands.pack`` does, and the runtime file beside it.

    Raises:
        InputError: something else is at one of the paths, or this is no checkout.
        ArtifactError: a file of the bundle is missing or was altered.
    """
    beside = (out if out is not None else folder.resolve()).with_name(RUNTIME)
    require_runtime(beside)
    archive, runtime = pack(folder, out), write_runtime(beside)
    return Answer(archive.text + runtime.text, archive.value | {"runtime": runtime.value})


def require_runtime(out: Path) -> None:
    """Do nothing if the runtime file can be written as ``out``.

    Raises:
        InputError: as ``write_runtime`` raises it.
    """
    require_file(out, EARLIER)
    require_checkout()


def require_checkout() -> None:
    """Do nothing if the runtime file can be made here.

    Raises:
        InputError: this is no checkout, which alone has the suite.
    """
    if not (ROOT / SETTINGS).is_file():
        raise InputError(
            "the device runtime is made in a checkout",
            expected=f"{SETTINGS} and tests/regression",
            got="an installation without them",
            where=str(ROOT),
            fix="clone the repository and type make env there",
        )


def content() -> bytes:
    """Return the bytes of the runtime file of this checkout."""
    files = {name: path for package in PACKAGES for name, path in _python(package).items()}
    files |= {INSIDE + name: path for pattern in SUITE for name, path in _matching(pattern).items()}
    files[START] = ROOT / "device_runtime" / START
    stream = io.BytesIO(SHEBANG)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, path in sorted(files.items()):
            archive.writestr(new_entry(name, deflated=False), path.read_bytes())
    return stream.getvalue()


def _python(package: str) -> dict[str, Path]:
    return _matching(f"{package}/**/*.py") | _matching(f"{package}/**/{PROFILE}")


def _matching(pattern: str) -> dict[str, Path]:
    return {path.relative_to(ROOT).as_posix(): path for path in ROOT.glob(pattern)}
