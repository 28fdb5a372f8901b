"""Entries of zip archives that are the same bytes each time, and what ``zipfile`` raises for a damaged archive."""

import stat
import struct
import zipfile
import zlib

UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError)
"""What zipfile and zlib raise for an archive that is damaged, encrypted, or made to harm."""


def new_entry(name: str, *, deflated: bool = True) -> zipfile.ZipInfo:
    """Return the entry of a regular file with a fixed time stamp and mode."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # Unix
    info.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    return info
