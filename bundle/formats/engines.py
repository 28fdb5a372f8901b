"""Engines: what a device builds for itself and keeps in the bundle's folder ``engines/``, each file with its hash.

Beside a file ``x`` lies ``x.sha256``, one line that ``sha256sum -c`` reads: the digest, two blanks, the name. It is
written last, so a file without one is what a killed build left, and is no part of the bundle until it is built again.
An engine is executable code: a device loads only one whose hash is that.
"""

import hashlib
import os
import re
import uuid
from pathlib import Path

from bundle.base.errors import ArtifactError
from bundle.formats.artifacts import write_text

ENGINES = "engines"
DIGEST = ".sha256"


def write_engine_file(folder: Path, name: str, content: bytes) -> Path:
    """Keep ``content`` as ``<folder>/engines/<name>`` with its hash beside it, and return its path.

    An older file of this name loses its hash first, so a kill leaves it without one, never with a wrong one.
    """
    cache = folder / ENGINES
    cache.mkdir(exist_ok=True)
    path, digest = cache / name, cache / f"{name}{DIGEST}"
    digest.unlink(missing_ok=True)
    temporary = cache / f".{name}.{uuid.uuid4().hex}.tmp"
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    write_text(digest, f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    return path


def read_engine_file(folder: Path, name: str) -> bytes | None:
    """Return the bytes of ``<folder>/engines/<name>``, hashed as they are read; None if it is not there with its hash.

    Raises:
        ArtifactError: it was altered, or is missing where its hash is.
    """
    path = folder / ENGINES / name
    return _checked(path) if path.with_name(f"{name}{DIGEST}").is_file() else None


def engine_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the files in ``engines/`` that have a hash beside them, sorted."""
    return tuple(sorted(path.name.removesuffix(DIGEST) for path in (folder / ENGINES).glob(f"*{DIGEST}")))


def check_engines(folder: Path) -> None:
    """Check every file in ``engines/`` that has a hash beside it.

    Raises:
        ArtifactError: one was altered, or is missing where its hash is; it is named.
    """
    for name in engine_files(folder):
        _checked(folder / ENGINES / name)


def _checked(path: Path) -> bytes:
    digest = path.with_name(f"{path.name}{DIGEST}")
    line = digest.read_text(encoding="utf-8", errors="replace") if digest.is_file() else ""
    found = re.fullmatch(rf"([0-9a-f]{{64}})  {re.escape(path.name)}\n", line)
    content = path.read_bytes() if path.is_file() else None
    got = "no such file" if content is None else hashlib.sha256(content).hexdigest()
    if content is None or found is None or got != found.group(1):
        raise ArtifactError(
            f"{ENGINES}/{path.name} was altered, or {digest.name} was",
            expected=f"sha256 {found.group(1)}" if found else "one line in the file of its hash",
            got=got,
            where=str(path),
            fix=f"delete the folder {path.parent}; a device builds its engines again",
        )
    return content
