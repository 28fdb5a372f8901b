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

from bundle.artifacts import hash_file, write_text
from bundle.errors import ArtifactError

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


def engine_file(folder: Path, name: str) -> Path | None:
    """Return the path of ``<folder>/engines/<name>`` if it is there with its hash and has it; None if it is not there.

    Raises:
        ArtifactError: it was altered, or is missing where its hash is.
    """
    path = folder / ENGINES / name
    if not path.with_name(f"{name}{DIGEST}").is_file():
        return None
    _check(path)
    return path


def check_engines(folder: Path) -> None:
    """Check every file in ``engines/`` that has a hash beside it.

    Raises:
        ArtifactError: one was altered, or is missing where its hash is; it is named.
    """
    for digest in sorted((folder / ENGINES).glob(f"*{DIGEST}")):
        _check(digest.with_name(digest.name.removesuffix(DIGEST)))


def _check(path: Path) -> None:
    digest = path.with_name(f"{path.name}{DIGEST}")
    content = digest.read_text(encoding="utf-8", errors="replace") if digest.is_file() else ""
    found = re.fullmatch(rf"([0-9a-f]{{64}})  {re.escape(path.name)}\n", content)
    got = hash_file(path) if path.is_file() else "no such file"
    if found is None or got != found.group(1):
        raise ArtifactError(
            f"{ENGINES}/{path.name} was altered, or {digest.name} was",
            expected=f"sha256 {found.group(1)}" if found else "one line in the file of its hash", got=got,
            where=str(path), fix=f"delete the folder {path.parent}; a device builds its engines again",
        )  # fmt: skip
