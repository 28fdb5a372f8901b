"""Write a zip of deflated members with the deflate strategy that fits each one; ``zipfile`` reads it.

``zipfile`` writes every member with zlib's default strategy, which looks for strings that repeat. Differences of pixels
do not repeat: run lengths and Huffman codes alone make them smaller, and are twenty times as fast (docs/reference/bundle.md).
Layout: PKWARE's APPNOTE 6.3, sizes and offsets always as ZIP64, time stamps fixed at 1980-01-01.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)
"""What zipfile and zlib raise for an archive that is damaged, encrypted, or made to harm."""
REPEATING, NOISY = zlib.Z_DEFAULT_STRATEGY, zlib.Z_RLE  # what a member's bytes are like
_LEVEL = 6
_VERSION, _UTF8, _DEFLATED, _TIME, _DATE = 45, 0x800, 8, 0, 0x21
_MODE = 0o100644 << 16
_HERE = 0xFFFF_FFFF  # "see the ZIP64 field"


class _Written(NamedTuple):
    """What the directory at the end says of a member."""

    name: bytes
    crc: int
    packed: int
    size: int
    offset: int


class ZipWriter:
    """A zip being written to ``path``; use it in a ``with`` block."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self._stream = path.open("wb")
        self._written: list[_Written] = []

    def __enter__(self) -> "ZipWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_directory()
        self._stream.close()

    def add(self, name: str, chunks: Iterable[bytes], strategy: int) -> None:
        """Deflate ``chunks`` one after the other as the member ``name``; ``strategy`` is REPEATING or NOISY."""
        offset, crc, size, packed = self._stream.tell(), 0, 0, 0
        self._stream.write(_local(name.encode(), 0, 0, 0))
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
        for chunk in chunks:
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
            packed += self._stream.write(packer.compress(chunk))
        packed += self._stream.write(packer.flush())
        end = self._stream.tell()
        self._stream.seek(offset)
        self._stream.write(_local(name.encode(), crc, packed, size))
        self._stream.seek(end)
        self._written.append(_Written(name.encode(), crc, packed, size, offset))

    def _write_directory(self) -> None:
        start = self._stream.tell()
        for member in self._written:
            self._stream.write(_central(member))
        end, count = self._stream.tell(), len(self._written)
        self._stream.write(
            struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, _VERSION, _VERSION, 0, 0, count, count, end - start, start)
        )
        self._stream.write(struct.pack("<4sIQI", b"PK\6\7", 0, end, 1))
        self._stream.write(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, _HERE, _HERE, 0))


def _local(name: bytes, crc: int, packed: int, size: int) -> bytes:
    extra = struct.pack("<HHQQ", 1, 16, size, packed)
    head = (b"PK\3\4", _VERSION, _UTF8, _DEFLATED, _TIME, _DATE, crc, _HERE, _HERE, len(name), len(extra))
    return struct.pack("<4sHHHHHIIIHH", *head) + name + extra


def _central(member: _Written) -> bytes:
    extra = struct.pack("<HHQQQ", 1, 24, member.size, member.packed, member.offset)
    head = (
        b"PK\1\2",
        3 << 8 | _VERSION,
        _VERSION,
        _UTF8,
        _DEFLATED,
        _TIME,
        _DATE,
        member.crc,
        _HERE,
        _HERE,
        len(member.name),
        len(extra),
        0,
        0,
        0,
        _MODE,
        _HERE,
    )
    return struct.pack("<4sHHHHHHIIIHHHHHII", *head) + member.name + extra
