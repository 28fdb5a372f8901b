"""Engines: what a device builds for itself and keeps in the bundle's folder ``engines/``, each file with its hash.

The hash of a file is written last (bundle/formats/hash_files.py). A file without one is what a killed build left: it
does not count, and the device builds it again. An engine is executable code: a device loads only one whose hash is that.
"""

from pathlib import Path

from bundle.formats.contents import ENGINES
from bundle.formats.hash_files import SUFFIX, require_hash, write_hashed


def write_engine_file(folder: Path, name: str, content: bytes) -> Path:
    """Keep ``content`` as ``<folder>/engines/<name>`` with its hash beside it, and return its path."""
    path = folder / ENGINES / name
    path.parent.mkdir(exist_ok=True)
    write_hashed(path, content)
    return path


def read_engine_file(folder: Path, name: str) -> bytes | None:
    """Return the bytes of ``<folder>/engines/<name>``, hashed as they are read; None if there is no hash beside it.

    Raises:
        ArtifactError: it was altered, or is missing where its hash is.
    """
    path = folder / ENGINES / name
    return _checked(path) if path.with_name(f"{name}{SUFFIX}").is_file() else None


def engine_files(folder: Path) -> tuple[str, ...]:
    """Return the names of the files in ``engines/`` that have a hash beside them, sorted."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in (folder / ENGINES).glob(f"*{SUFFIX}")))


def check_engines(folder: Path) -> None:
    """Check every file in ``engines/`` that has a hash beside it.

    Raises:
        ArtifactError: one was altered, or is missing where its hash is; it is named.
    """
    for name in engine_files(folder):
        _checked(folder / ENGINES / name)


def _checked(path: Path) -> bytes:
    content = path.read_bytes() if path.is_file() else None
    fix = f"delete the folder {path.parent}; a device builds its engines again"
    return require_hash(path, content, name=f"{ENGINES}/{path.name}", fix=fix)
