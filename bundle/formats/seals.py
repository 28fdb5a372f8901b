"""Seals: a file that carries the sha256 of its own bytes, the seal's 64 digits taken as zeros.

A seal finds damage and careless edits; it is no signature, for whoever can rewrite a file can seal it again
(bundle/transport/signature.py has signatures). It is taken over bytes, so a changed blank is found too.
"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from bundle.base.errors import ArtifactError
from bundle.base.limits import read_limited

MANIFEST = "manifest.json"
UNSEALED = "0" * 64
_JSON = re.compile(rb'"seal": "([0-9a-f]{64})"')


class Sealed(NamedTuple):
    """The bytes of ``manifest.json`` and the seal in them, which holds."""

    content: bytes
    seal: str


def digest(content: bytes, digits: tuple[int, int]) -> str:
    """Return the sha256 of ``content`` with the bytes of the range ``digits`` replaced by zeros."""
    start, end = digits
    return hashlib.sha256(content[:start] + b"0" * (end - start) + content[end:]).hexdigest()


def manifest_digest(content: bytes) -> str:
    """Return the seal that a manifest with these bytes should carry; that of all bytes if there is no seal in it."""
    found = _JSON.search(content)
    return digest(content, found.span(1) if found else (0, 0))


def read_sealed_manifest(folder: Path) -> Sealed:
    """Read the bytes of ``manifest.json`` and check their seal.

    Raises:
        ArtifactError: there is no manifest, or it was altered.
    """
    path = folder / MANIFEST
    try:
        content = read_limited(path, "manifest_bytes")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ArtifactError(
            "no bundle here",
            expected=MANIFEST,
            got=str(error),
            where=str(folder),
            fix="give the folder build/<model>/<target> that a build wrote; an archive of one is unpacked first: bundle unpack",
        ) from error
    found, expected = _JSON.search(content), manifest_digest(content)
    seal = found.group(1).decode() if found else "no seal"
    if seal != expected:
        raise ArtifactError(
            f"{MANIFEST} was altered",
            expected=f"seal {expected}",
            got=f"seal {seal}",
            where=str(path),
            fix="copy the bundle again, or build it again",
        )
    return Sealed(content, seal)
