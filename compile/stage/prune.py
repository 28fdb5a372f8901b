"""Prune: what the stage store holds, how long ago each entry was used, and which ones go, the least recently used first.

A build holds a shared lock of its store for as long as it runs (compile/stage/store.py); pruning takes the exclusive one, so no
entry goes that a build in progress has read or made. An entry is renamed before it is removed: a kill leaves no half one.

A store at a URL has no locks, and needs none: builds read their own copies of its entries (compile/stage/shared_prune.py).
"""

import fcntl
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from bundle.base.errors import InputError
from bundle.base.frozen import Frozen
from bundle.formats.artifacts import SIDECAR, Record
from compile.stage.store import KEY_LENGTH, LOCK, locked, tidy

KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
_UNITS = {"": 1, "b": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("", 1000), ("b", 1000), ("ib", 1024))
}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Entry(Frozen):
    """One entry: its stage, key and kind, the bytes of its files, and when it was last used, in seconds since 1970."""

    stage: str
    key: str
    kind: str
    bytes: int
    last_use: float


def entries(root: Path) -> tuple[Entry, ...]:
    """Return the store's entries, the least recently used first.

    Raises:
        InputError: there is no store.
    """
    if not (root / LOCK).is_file():
        raise no_store(str(root), "a folder that no build keeps its stages in" if root.is_dir() else "no such folder")
    found = [entry for folder in root.glob("*/*") if (entry := _entry(folder)) is not None]
    return tuple(sorted(found, key=lambda entry: (entry.last_use, entry.stage, entry.key)))


def no_store(where: str, got: str) -> InputError:
    """Return the error for a place without a store."""
    return InputError(
        "there is no store here",
        expected="a folder or a URL that a build keeps its stages in",
        got=got,
        where=where,
        fix="name it with --store; a build keeps it as OUT/.store",
    )


def _entry(folder: Path) -> Entry | None:
    """Return the entry in ``folder``; None if it is no entry: another name, a link, or no record in it."""
    record, stage = folder / SIDECAR, folder.parent
    linked = folder.is_symlink() or stage.is_symlink()
    if not record.is_file() or linked or stage.name.startswith(".") or KEY.fullmatch(folder.name) is None:
        return None
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    return Entry(
        stage=stage.name,
        key=folder.name,
        kind=kind_of(record.read_bytes()),
        bytes=size,
        last_use=record.stat().st_mtime,
    )


def kind_of(record: bytes) -> str:
    """Return the kind that a record names."""
    try:
        return Record.model_validate_json(record).kind
    except ValidationError:
        return "damaged"


def choose(found: Sequence[Entry], *, max_bytes: float, older_than_s: float, now: float) -> tuple[Entry, ...]:
    """Return which of the entries go: those unused for longer than ``older_than_s``, then the least recently used until
    the rest has at most ``max_bytes``. An infinite limit is none.
    """
    ordered = sorted(found, key=lambda entry: entry.last_use)
    gone = [entry for entry in ordered if now - entry.last_use > older_than_s]
    left = sum(entry.bytes for entry in ordered) - sum(entry.bytes for entry in gone)
    for entry in ordered[len(gone) :]:
        if left <= max_bytes:
            break
        gone.append(entry)
        left -= entry.bytes
    return tuple(gone)


def prune(root: Path, *, max_bytes: float, older_than_s: float, say: Callable[[str], None]) -> tuple[Entry, ...]:
    """Remove what ``choose`` names and return it; wait while a build uses the store, and say so.

    Raises:
        InputError: there is no store.
    """
    entries(root)
    with _alone(root, say):
        gone = choose(entries(root), max_bytes=max_bytes, older_than_s=older_than_s, now=time.time())
        for entry in gone:
            folder = root / entry.stage / entry.key
            with locked(folder.parent, name=entry.key):
                shutil.rmtree(folder.rename(folder.with_name(f".{entry.key}.{uuid.uuid4().hex}.tmp")))
        tidy(root)
    return gone


@contextmanager
def _alone(root: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the exclusive lock of the store."""
    with (root / LOCK).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"a build is using {root}: waiting until it ends")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def read_size(text: str) -> int:
    """Read a size as ``2GB``, ``500 MiB`` or a number of bytes.

    Raises:
        InputError: it is none.
    """
    found = re.fullmatch(r"(\d{1,15})(?:\.(\d{1,6}))?\s*([a-z]*)", text.strip().lower())
    if found is None or found[3] not in _UNITS:
        raise _no_quantity("size", "a size as 2GB, 500MiB or a number of bytes", text)
    return int(float(f"{found[1]}.{found[2] or 0}") * _UNITS[found[3]])


def read_age(text: str) -> float:
    """Read an age as ``30d``, ``12h`` or ``2w``; return its seconds.

    Raises:
        InputError: it is none.
    """
    found = re.fullmatch(r"(\d{1,9})\s*([smhdw])", text.strip().lower())
    if found is None:
        raise _no_quantity("age", "a number and its unit, as 30d, 12h or 2w", text)
    return float(int(found[1]) * _SECONDS[found[2]])


def _no_quantity(what: str, expected: str, got: str) -> InputError:
    shown = got if len(got) <= 40 else f"{got[:40]}…"
    return InputError(
        f"this is no {what}",
        expected=expected,
        got=repr(shown),
        where="the command line",
        fix="write it as in the example of --help",
    )


def rows(found: Sequence[Entry], now: float) -> list[str]:
    """Return a line for each entry, and the sum."""
    lines = [
        f"{one.stage:<13}{one.key}  {one.kind:<12}{megabytes(one.bytes):>12}  {_ago(now - one.last_use)}"
        for one in found
    ]
    return [*lines, f"{len(found)} entries, {megabytes(sum(one.bytes for one in found))}"]


def megabytes(size: int) -> str:
    """Write a size in MB."""
    return f"{size / 1e6:.1f} MB"


def _ago(seconds: float) -> str:
    """Write how long ago an entry was used, in the largest unit of which it is one or more."""
    unit = next((unit for unit in "dhm" if seconds >= _SECONDS[unit]), "s")
    return f"used {max(0, int(seconds / _SECONDS[unit]))} {unit} ago"
