"""A file and its hash: beside ``x`` is ``x.sha256``, one line that ``sha256sum -c`` checks.

A hash finds damage and careless edits. It is no signature: whoever can write the file can write its hash, too
(bundle/transport/signature.py has signatures).
"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field

from bundle.base.errors import ArtifactError
from bundle.formats.artifacts import writing

SUFFIX = ".sha256"
Digest: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def with_hashes(*names: str) -> tuple[str, ...]:
    """Return the names of files and of the hash files beside them."""
    return tuple(name for pair in ((name, f"{name}{SUFFIX}") for name in names) for name in pair)


def hash_line(name: str, content: bytes) -> str:
    """Return what the hash file of a file ``name`` with these bytes holds: the digest, two blanks, the name."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n"


def write_hashed(path: Path, content: bytes) -> None:
    """Write a file and its hash, each under a temporary name first.

    The old hash is removed before the file is replaced. A kill in between leaves a file without a hash, never with a wrong one.
    """
    beside = path.with_name(f"{path.name}{SUFFIX}")
    with writing(beside) as line, writing(path) as temporary:
        temporary.write_bytes(content)
        line.write_text(hash_line(path.name, content), encoding="utf-8")
        beside.unlink(missing_ok=True)


def require_hash(path: Path, content: bytes | None, *, name: str, fix: str) -> bytes:
    """Return ``content``, the bytes of the file at ``path`` or None, if the hash beside it is theirs; ``name`` is for the message.

    Raises:
        ArtifactError: there is no file or no hash, or one of them was altered.
    """
    beside = path.with_name(f"{path.name}{SUFFIX}")
    line = beside.read_text(encoding="utf-8", errors="replace") if beside.is_file() else None
    match = re.fullmatch(rf"([0-9a-f]{{64}})  {re.escape(path.name)}\n", line or "")
    got = "no such file" if content is None else hashlib.sha256(content).hexdigest()
    if line is None:
        raise _refused(path, f"{name} has no hash beside it", f"the file {beside.name}", "no such file", fix)
    if content is None or match is None or got != match.group(1):
        expected = f"sha256 {match.group(1)}" if match else f"one line of sha256sum in {beside.name}"
        raise _refused(path, f"{name} was altered, or {beside.name} was", expected, got, fix)
    return content


def _refused(path: Path, message: str, expected: str, got: str, fix: str) -> ArtifactError:
    return ArtifactError(message, expected=expected, got=got, where=str(path), fix=fix)
