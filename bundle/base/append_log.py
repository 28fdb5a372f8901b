"""An append-only log of JSON objects, one a line, from which a killed run continues.

The last key of a line is ``sha256``, the first digits of the hash of the object without that key. Reading stops at the first
line whose hash differs: a kill leaves at most one incomplete line, and what follows damage is not trusted.
"""

import hashlib
import os
from pathlib import Path

_DIGITS = 16
_KEY = b', "sha256": "'


class AppendLog:
    """The log in one file; ``entries`` are its objects as JSON, without their hashes."""

    def __init__(self, path: Path) -> None:
        """Read what is there; nothing is written before the first ``add`` or ``keep``."""
        self.path = path
        self.entries: list[str] = []
        self._size = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.is_file() else ():
            entry = line.rpartition(_KEY)[0] + b"}"
            if _sealed(entry) != line:
                break
            self.entries.append(entry.decode())
            self._size += len(line)

    def add(self, entry: str) -> None:
        """Append a JSON object with at least one key; when this returns, the line is on the disk."""
        line = _sealed(entry.encode())
        self._write(line)
        self.entries.append(entry)
        self._size += len(line)

    def keep(self, count: int) -> None:
        """Remove all but the first ``count`` entries."""
        del self.entries[count:]
        self._size = sum(len(_sealed(entry.encode())) for entry in self.entries)
        if self.path.is_file():
            self._write(b"")

    def _write(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("r+b" if self.path.exists() else "wb") as stream:
            stream.truncate(self._size)
            stream.seek(self._size)
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())


def _sealed(entry: bytes) -> bytes:
    return entry[:-1] + _KEY + hashlib.sha256(entry).hexdigest()[:_DIGITS].encode() + b'"}\n'
