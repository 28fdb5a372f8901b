"""Prune a store at a URL (compile/stage/shared_store.py): its entries, and what killed writers left there.

An entry's record goes first, so a kill leaves no entry with a part of its files. A build that was about to read it makes it again.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from bundle.formats.artifacts import SIDECAR
from compile.stage.prune import KEY, Entry, choose, kind_of, no_store
from compile.stage.shared_store import MARK, Opened, reached

ABANDONED_S = 86_400.0


class Listed(NamedTuple):
    """The sizes in bytes of the objects of a store, by stage and key and by name."""

    entries: Mapping[tuple[str, str], Mapping[str, int]]

    def complete(self) -> list[tuple[str, str]]:
        """Return the stage and key of each entry that has a record."""
        return [name for name, files in self.entries.items() if SIDECAR in files]


def entries(url: str) -> tuple[Entry, ...]:
    """Return the entries of the store at ``url``, the oldest first.

    Raises:
        InputError: there is no store, or it cannot be reached.
        TargetUnavailable: a package that it needs is not installed.
    """
    with reached(url) as opened:
        return _entries(opened, _list(opened, url))


def _list(opened: Opened, url: str) -> Listed:
    if not opened.system.exists(f"{opened.root}/{MARK}"):
        raise no_store(url, "a place that no build keeps its stages in")
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    listed: dict[str, dict[str, float]] = opened.system.find(opened.root, detail=True)
    for path, info in listed.items():
        stage, key, name = [*path.removeprefix(opened.root).strip("/").split("/"), "", ""][:3]
        if KEY.fullmatch(key) and name:
            found[stage, key][name] = int(info["size"])
    return Listed(found)


def _entries(opened: Opened, listed: Listed) -> tuple[Entry, ...]:
    found = [
        Entry(
            stage=stage,
            key=key,
            kind=kind_of(opened.system.cat_file(f"{opened.root}/{stage}/{key}/{SIDECAR}")),
            bytes=sum(listed.entries[stage, key].values()),
            last_use=_written(opened, f"{opened.root}/{stage}/{key}/{SIDECAR}"),
        )
        for stage, key in listed.complete()
    ]
    return tuple(sorted(found, key=lambda entry: (entry.last_use, entry.stage, entry.key)))


def _written(opened: Opened, path: str) -> float:
    return float(opened.system.modified(path).timestamp())


def prune(url: str, *, max_bytes: float, older_than_s: float) -> tuple[Entry, ...]:
    """Remove what ``compile.stage.prune.choose`` names and return it, and what killed writers left for a day.

    Raises:
        InputError: there is no store, or it cannot be reached or written.
        TargetUnavailable: a package that it needs is not installed.
    """
    with reached(url) as opened:
        listed, now = _list(opened, url), time.time()
        gone = choose(_entries(opened, listed), max_bytes=max_bytes, older_than_s=older_than_s, now=now)
        for entry in gone:
            _remove(opened, entry.stage, entry.key, listed.entries[entry.stage, entry.key])
        for stage, key in listed.entries.keys() - listed.complete():
            names = listed.entries[stage, key]
            if all(now - _written(opened, f"{opened.root}/{stage}/{key}/{name}") > ABANDONED_S for name in names):
                _remove(opened, stage, key, names)
        return gone


def _remove(opened: Opened, stage: str, key: str, names: Mapping[str, int]) -> None:
    """Remove the objects of an entry, its record first."""
    for name in sorted(names, key=lambda name: name != SIDECAR):
        opened.system.rm_file(f"{opened.root}/{stage}/{key}/{name}")
