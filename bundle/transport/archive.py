"""A bundle as one file, and back: a zip archive that is the same bytes each time, and is trusted in nothing.

``pack`` writes ``manifest.json`` and its hash first, then the other files in the order of their names. Time stamps
and modes are fixed; what is deflated already is stored. Engines stay behind: they belong to one device.

``unpack`` takes an archive from anywhere. Its manifest is read first. Only the files that the manifest lists may be
there, as regular files, each once, within a limit of bytes. They are written to a temporary folder, hashed there, and take
the place of ``out`` together; an archive that is refused leaves nothing.
"""

import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from bundle.base.errors import ArtifactError, InputError, system_reason
from bundle.base.limits import LIMITS
from bundle.base.zip_entries import UNREADABLE, new_entry
from bundle.formats.artifacts import inside
from bundle.formats.contents import HASHED, MANIFEST, VECTORS
from bundle.formats.hash_files import SUFFIX, hash_line, with_hashes
from bundle.formats.manifest import Bundle, read_manifest, verify_bundle
from bundle.formats.outputs import nothing, overwriting, replacing, require_file, require_folder, zip_with
from bundle.transport.signature import verify_trusted

MAX_BYTES, MAX_FILES, MAX_MANIFEST = (LIMITS[name].most for name in ("bundle_bytes", "bundle_files", "manifest_bytes"))
PACKED = zip_with(MANIFEST, VECTORS)  # what pack may write over
_ENCRYPTED = 1  # a bit of an entry's flags
_LONGEST, _LONGEST_PART = (LIMITS[name].most for name in ("path_bytes", "path_part_bytes"))
_CHUNK = 1 << 20


def pack(folder: Path, out: Path) -> Path:
    """Write the bundle in ``folder`` as the archive ``out``, atomically, and return its path.

    Raises:
        InputError: something else than such an archive is at ``out``, or ``out`` is in the bundle.
        ArtifactError: a file of the bundle is missing or was altered.
    """
    require_file(out, PACKED, [folder])
    bundle = verify_bundle(folder)
    with overwriting(out, PACKED) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        later = {MANIFEST: bundle.content, **bundle.results}
        hashes = {f"{name}{SUFFIX}": hash_line(name, content).encode() for name, content in later.items()}
        first = with_hashes(MANIFEST)
        for name in (*first, *sorted({*bundle.manifest.files, *later, *hashes} - set(first))):
            content = (later | hashes).get(name) or bundle.read(name)
            archive.writestr(new_entry(name, deflated=name != VECTORS), content)
    return out


def unpack(archive: Path, out: Path, *, key: Path | None = None, max_bytes: int = MAX_BYTES) -> Bundle:
    """Unpack an archive as the folder ``out`` and return the verified bundle; with ``key``, only if that key signed it.

    Raises:
        InputError: there is something at ``out`` already, or it is the working directory.
        ArtifactError: it is no archive, holds what no bundle holds, is larger than ``max_bytes``, or a file in it was
            altered; or it is not signed with the key. Nothing is left at ``out``.
        TargetUnavailable: a signature is asked for, and the library that checks it is not installed.
    """
    require_folder(out, nothing)
    try:
        with opened(archive) as source, replacing(out, nothing) as folder:
            with reading(archive):
                _extract(source, archive, folder, max_bytes)
            bundle = verify_trusted(folder, key)
    except OSError as error:
        wanted = "a file that can be read, and a folder that can be written"
        raise _refusal(archive, "the archive cannot be unpacked here", wanted, system_reason(error)) from error
    return bundle.model_copy(update={"folder": out})


def unpack_beside(archive: Path, *, key: Path | None = None) -> Path:
    """Unpack ``NAME.zip`` as the folder ``NAME`` beside it and return the folder; left alone if it is that bundle already.

    Raises:
        InputError: something else is there, or the file's name does not end with ``.zip``.
        ArtifactError, TargetUnavailable: as ``unpack`` raises them.
    """
    folder = archive.with_suffix("")
    if archive.suffix != ".zip":
        raise InputError(
            "this is neither a bundle nor an archive of one",
            expected="a folder, or a file NAME.zip that pack wrote",
            got=archive.name,
            where=str(archive),
            fix="name the bundle's folder, or its archive",
        )
    if (folder / MANIFEST).is_file() and (folder / MANIFEST).read_bytes() == _manifest_of(archive):
        return folder
    return unpack(archive, folder, key=key).folder


def _manifest_of(archive: Path) -> bytes:
    """Return the manifest that an archive begins with, to compare; no more of it than a manifest may have."""
    with opened(archive) as source, reading(archive):
        return source.open(MANIFEST).read(MAX_MANIFEST) if MANIFEST in source.namelist() else b""


def opened(archive: Path) -> zipfile.ZipFile:
    """Open an archive from anywhere to read it.

    Raises:
        ArtifactError: there is none, or it cannot be read.
    """
    try:
        with reading(archive):
            return zipfile.ZipFile(archive)
    except FileNotFoundError as error:
        raise _refusal(archive, "there is no such archive", "a file", system_reason(error)) from error
    except IsADirectoryError as error:
        raise _refusal(archive, "this is a folder, no archive", "a file that pack wrote", "a folder") from error


@contextmanager
def reading(archive: Path) -> Iterator[None]:
    """Turn what a damaged archive raises while it is read into one error.

    Raises:
        ArtifactError: the archive cannot be read.
    """
    try:
        yield
    except UNREADABLE as error:
        raise _refusal(archive, "the archive cannot be read", "a complete zip archive", str(error)) from error


def _extract(archive: zipfile.ZipFile, path: Path, folder: Path, max_bytes: int) -> None:
    entries = check_entries(archive.infolist(), path, max_bytes)
    if MANIFEST not in entries or entries[MANIFEST].file_size > MAX_MANIFEST:
        got = f"{entries[MANIFEST].file_size} bytes" if MANIFEST in entries else "none"
        raise _refusal(path, f"this is no bundle: {MANIFEST}", f"one of at most {MAX_MANIFEST} bytes", got)
    for name in with_hashes(MANIFEST):
        if name in entries:
            extract_entry(archive, entries.pop(name), folder)
    manifest = read_manifest(folder)
    for name in sorted(set(manifest.files) - set(entries)):
        raise _refusal(path, f"{name} is missing", f"every file that {MANIFEST} lists", "no such entry")
    for name in sorted(set(entries) - set(manifest.files) - set(with_hashes(*HASHED))):
        raise _refusal(path, f"{name!r} is no file of this bundle", f"what {MANIFEST} lists, and results", repr(name))
    for entry in entries.values():
        extract_entry(archive, entry, folder)


def extract_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    """Write a checked entry below ``folder`` under its own name, never more bytes than it declares.

    Raises:
        zipfile.BadZipFile: it holds more bytes than it declares, or fewer.
    """
    path = folder / entry.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, path.open("xb") as sink:
        _copy(source, sink, entry.file_size)


def _copy(source: IO[bytes], sink: BinaryIO, size: int) -> None:
    """Copy exactly ``size`` bytes, a little at a time."""
    left = size
    while chunk := source.read(min(_CHUNK, left + 1)):
        left -= len(chunk)
        if left < 0:
            raise zipfile.BadZipFile("an entry holds more bytes than it declares")
        sink.write(chunk)
    if left:
        raise zipfile.BadZipFile("an entry holds fewer bytes than it declares")


def check_entries(entries: list[zipfile.ZipInfo], path: Path, max_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Return an archive's entries by name, if each could be a file of a bundle and all of them fit.

    Raises:
        ArtifactError: a name leads out of the folder, occurs twice (in any case), or is a folder to another; an entry is
            no plain file; there are too many, or they are too large.
    """
    if len(entries) > MAX_FILES:
        raise _refusal(path, "there are too many entries", f"at most {MAX_FILES}", str(len(entries)))
    seen: dict[str, str] = {}
    for entry in entries:
        check_entry(entry, path)
        folded = entry.filename.casefold()
        if folded in seen:
            got = f"{seen[folded]!r} and {entry.filename!r}"
            raise _refusal(path, f"{entry.filename!r} occurs twice", "each name once, in any case", got)
        seen[folded] = entry.filename
    for name in seen:
        parts = name.split("/")
        for folder in ("/".join(parts[:depth]) for depth in range(1, len(parts))):
            if folder in seen:
                raise _refusal(path, f"{seen[folder]!r} is a file and a folder", "one of them", repr(seen[name]))
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes:
        raise _refusal(path, "the archive is too large", f"at most {max_bytes} bytes unpacked", f"{total} bytes")
    return {entry.filename: entry for entry in entries}


def check_entry(entry: zipfile.ZipInfo, path: Path) -> None:
    """Do nothing if an entry of the archive ``path`` is a plain file that can be read, under a name that stays in a folder.

    Raises:
        ArtifactError: it is not.
    """
    name, mode = entry.filename, entry.external_attr >> 16
    parts = [len(part.encode()) for part in name.split("/")]
    short = max(parts) <= _LONGEST_PART and sum(parts) <= _LONGEST
    if not (inside(name) and entry.orig_filename == name and name.isprintable() and short):
        raise _refusal(
            path, f"{name!r} is no plain path", "a relative path inside the bundle", repr(entry.orig_filename)
        )
    if entry.is_dir() or stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise _refusal(path, f"{name!r} is no plain file", "a regular file", stat.filemode(mode))
    if entry.flag_bits & _ENCRYPTED:
        raise _refusal(path, f"{name!r} is encrypted", "plain bytes", "an encrypted entry")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _refusal(path, f"{name!r} is compressed in another way", "stored or deflated", str(entry.compress_type))


def _refusal(path: Path, message: str, expected: str, got: str) -> ArtifactError:
    return ArtifactError(
        message, expected=expected, got=got, where=str(path), fix="ask for the archive again, from one you trust"
    )
