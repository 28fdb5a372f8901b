"""A stage store at an fsspec URL (``s3://bucket/prefix``, ``file:///mnt/store``, ``memory://``), shared by machines.

Stages read local folders: an entry is fetched into a local store, checked by hash there, and a made one is sent back.
In the URL ``<stage>/<key>/`` holds one object for each file, named by its sha256, and the record that lists them. The record
is written last, and only if there is none. So two writers of one key never mix: what they write has a name of its own, or
is the same. A writer that is killed leaves objects that no record lists. Where a store can rename, an object is written
beside its place first; an object store takes each one whole or not at all.

What does not match its hash is made again and replaced. An entry's last use is when it was written.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from bundle.base.errors import InputError, ProjectError, not_installed
from bundle.base.frozen import faults
from bundle.formats.artifacts import SIDECAR, Artifact, ArtifactT, Record, load
from bundle.formats.outputs import anything, replacing

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MARK = ".tdss-store"
RENAMING = frozenset(("file", "local", "sftp"))
"""Protocols whose files are seen while they are written, and are renamed in one step."""
_ABSENT = (FileNotFoundError, NotADirectoryError)


class SharedStore(NamedTuple):
    """A store at a URL, and the local one that its entries are read from."""

    folder: Path
    url: str


class Opened(NamedTuple):
    """A file system of fsspec, and the store's path in it."""

    system: "AbstractFileSystem"
    root: str

    @property
    def renames(self) -> bool:
        """Whether a file is written under another name first."""
        named = self.system.protocol
        return bool({*((named,) if isinstance(named, str) else named)} & RENAMING)

    def put(self, content: bytes | Path, path: str, *, replace: bool = True) -> None:
        """Write an object, whole or not at all; one that is there is replaced, or stays if it may not be."""
        written = path
        if self.renames:
            self.system.makedirs(path.rpartition("/")[0], exist_ok=True)
            written = f"{path}.{uuid.uuid4().hex}.tmp"
        if isinstance(content, Path):
            self.system.put_file(str(content), written)
        elif replace or self.renames:
            self.system.pipe_file(written, content)
        else:
            with suppress(FileExistsError):  # another writer was first
                self.system.pipe_file(written, content, mode="create")
        if self.renames:
            self.system.mv(written, path)


@contextmanager
def reached(url: str) -> Iterator[Opened]:
    """Open the file system of ``url``; whatever it raises is one error.

    Raises:
        InputError: it cannot be reached, read or written, or no file system has this protocol.
        TargetUnavailable: fsspec, or the package for this protocol, is not installed.
    """
    try:
        from fsspec.core import url_to_fs

        yield Opened(*url_to_fs(url.rstrip("/"), use_listings_cache=False))
    except ProjectError:
        raise
    except ImportError as error:
        cause = error.__cause__
        name = error.name or (cause.name if isinstance(cause, ImportError) else None) or url.partition(":")[0]
        raise not_installed(
            f"a stage store at {url}", name.partition(".")[0], extra="store", where=url, error=error
        ) from error
    except Exception as error:
        raise InputError(
            "the stage store cannot be reached or written",
            expected="a URL that fsspec opens, with leave to read and write there",
            got=faults(error) or type(error).__name__,
            where=url,
            fix="correct the URL, its credentials in the environment, or the leave; what was made is kept in the local store",
        ) from error


def share(folder: Path, url: str) -> SharedStore:
    """Return the store at ``url``, read through the local one in ``folder``; a mark is written there to see that it can be.

    Raises:
        InputError: the store cannot be reached or written.
        TargetUnavailable: a package is not installed.
    """
    with reached(url) as opened:
        opened.put(b"a stage store of tdss\n", f"{opened.root}/{MARK}")
    return SharedStore(folder, url)


def fetch(url: str, kind: type[ArtifactT], name: str, entry: Path) -> ArtifactT | None:
    """Bring the entry ``name`` (stage/key) to the folder ``entry``, checked by hash; None where there is none.

    Raises:
        ArtifactError: it is damaged, and nothing is at ``entry``.
        InputError: the store cannot be reached.
    """
    with reached(url) as opened:
        place = f"{opened.root}/{name}"
        if not opened.system.exists(f"{place}/{SIDECAR}"):
            return None
        with replacing(entry, anything) as folder:
            _get(opened, f"{place}/{SIDECAR}", folder / SIDECAR)
            for file, digest in _files(folder / SIDECAR).items():
                _get(opened, f"{place}/{digest}", folder / file)
            load(kind, folder)
    return load(kind, entry)


def _get(opened: Opened, path: str, out: Path) -> None:
    """Copy an object to a file; nothing is there if the object is missing."""
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        opened.system.get_file(path, str(out))
    except _ABSENT:
        out.unlink(missing_ok=True)


def _files(record: Path) -> dict[str, str]:
    """Return the files that a record lists, none where it cannot be read: ``load`` says why."""
    try:
        return Record.model_validate_json(record.read_bytes()).files
    except (FileNotFoundError, ValidationError):
        return {}


def send(url: str, artifact: Artifact, name: str, *, replace: bool) -> None:
    """Write an artifact as the entry ``name`` (stage/key) unless one is there; ``replace`` a damaged one.

    Raises:
        InputError: the store cannot be reached or written; the artifact stays where it is.
    """
    with reached(url) as opened:
        place = f"{opened.root}/{name}"
        if not replace and opened.system.exists(f"{place}/{SIDECAR}"):
            return
        for file, digest in artifact.record.files.items():
            opened.put(artifact.folder / file, f"{place}/{digest}")
        opened.put((artifact.folder / SIDECAR).read_bytes(), f"{place}/{SIDECAR}", replace=replace)
