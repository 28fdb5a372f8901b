"""The stage store: ``<root>/<stage>/<key>/`` holds an artifact; a stage whose key is already there is not run again.

A key is the hash of everything a stage's answer depends on: its inputs' hashes, its settings, its code and the
versions of the tools it calls. An entry is written under a temporary name and renamed, so a build killed at any
moment leaves only whole entries; what it left half done is swept away by the next run. One lock per key makes
two builds that share a store wait for each other instead of working twice; the system drops it with its process.
Beside these, each build holds a shared lock of the whole store, so that nothing is pruned under it (compile/stage/prune.py).
An entry's last use is the time stamp of its record.

A store may also be at a URL (compile/stage/shared_store.py). Then ``root`` is a local folder that has what was used of it.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from json import loads
from pathlib import Path
from typing import ClassVar, TypeAlias

from pydantic import JsonValue

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen
from bundle.base.strict_json import dumps
from bundle.formats.artifacts import SIDECAR, Artifact, ArtifactT, Record, hash_folder, load, write_record
from bundle.formats.outputs import Rule, anything, artifact, replacing, sweep
from compile.stage.code_hash import code_hash
from compile.stage.graph_info import GraphSettings
from compile.stage.shared_store import SharedStore, fetch, send, share
from compile.stage.tools import STAGES

KEY_LENGTH = 24
LOCK = ".lock"
STORE = ".store"
"""A build's own store, in its output folder."""
NOT_SHARED = ("judge",)
"""Stages whose answer holds this machine's times."""
Root: TypeAlias = Path | SharedStore
"""Where a store is: a folder, or a URL with a folder before it."""


class StageKey(Frozen):
    """Everything a stage's answer depends on: hashes of inputs and code, settings, versions of its tools."""

    stage: str
    inputs: tuple[str, ...]
    settings: dict[str, JsonValue]
    code: str
    tools: dict[str, str]

    @property
    def digest(self) -> str:
        """The name of the store's entry."""
        text = dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]

    @property
    def name(self) -> str:
        """Where the store has the entry: stage/key."""
        return f"{self.stage}/{self.digest}"


def stage_key(stage: str, *, inputs: tuple[str, ...], settings: dict[str, JsonValue]) -> StageKey:
    """Make the key of a stage (compile/stage/tools.py) with these inputs and settings, its code and its tools as installed."""
    code = code_hash(f"compile.{STAGES[stage].module}")
    return StageKey(stage=stage, inputs=inputs, settings=settings, code=code, tools=stage_tools(stage))


def stage_tools(stage: str) -> dict[str, str]:
    """Return the installed versions of a stage's tools (compile/stage/tools.py)."""
    return tool_versions(*STAGES[stage].tools)


def tool_versions(*distributions: str) -> dict[str, str]:
    """Return the installed version of each distribution, "absent" where there is none."""
    return {name: _version(name) for name in distributions}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def open_store(text: str, cache: Path) -> Root:
    """Return the store that a configuration names: a folder, a URL read through ``cache``, or for "" ``cache`` itself.

    Raises:
        InputError: the store at the URL cannot be reached or written.
        TargetUnavailable: a package that it needs is not installed.
    """
    if "://" in text:
        return share(cache, text)
    return Path(text) if text else cache


def folder_of(root: Root) -> Path:
    """Return the folder that a store's entries are read from."""
    return root if isinstance(root, Path) else root.folder


def obtain(
    root: Root, kind: type[ArtifactT], key: StageKey, make: Callable[[Path], ArtifactT], say: Callable[[str], None]
) -> ArtifactT:
    """Return the store's artifact for ``key``, made by ``make(folder)`` where there is none.

    An entry with an altered or missing file is made again, and ``say`` gets a line about it.

    Raises:
        InputError: the store at a URL cannot be reached or written; what was made is kept in the folder.
    """
    stage, url = folder_of(root) / key.stage, "" if isinstance(root, Path) or key.stage in NOT_SHARED else root.url
    with locked(stage, name=key.digest):
        entry, damaged = stage / key.digest, False
        found = _found(kind, entry, key, say)
        if found is None and url:
            found, damaged = _fetched(url, kind, entry, key, say)
        if found is None:
            found = make(entry)
        if url:
            send(url, found, key.name, replace=damaged)
        return found


def _found(kind: type[ArtifactT], entry: Path, key: StageKey, say: Callable[[str], None]) -> ArtifactT | None:
    """Return the artifact in the folder; None where there is none, or a damaged one, which is removed."""
    if not entry.exists():
        return None
    try:
        found = load(kind, entry)
    except ArtifactError as error:
        say(f"{key.stage}: {error.message} in {entry.name}: made again")
        shutil.rmtree(entry)
        return None
    os.utime(entry / SIDECAR)
    return found


def _fetched(
    url: str, kind: type[ArtifactT], entry: Path, key: StageKey, say: Callable[[str], None]
) -> tuple[ArtifactT | None, bool]:
    """Return the artifact that the URL has, brought into the folder, or None; and whether one there is damaged."""
    try:
        return fetch(url, kind, key.name, entry), False
    except ArtifactError as error:
        say(f"{key.stage}: {error.message} in {key.digest} of {url}: made again")
        return None, True


class Kept(Artifact):
    """Files that only their key describes."""

    kind: ClassVar[str] = "kept"


def keep(root: Root, key: StageKey, write: Callable[[Path], object], say: Callable[[str], None]) -> Kept:
    """Return the files that ``write(folder)`` makes, from the store or made now; see ``obtain``."""

    def make(out: Path) -> Kept:
        with writing(out, Kept) as folder:
            write(folder)
            seal(Kept, folder, tools=key.tools)
        return load(Kept, out)

    return obtain(root, Kept, key, make, say)


@contextmanager
def locked(folder: Path, rule: Rule = anything, name: str = "") -> Iterator[None]:
    """Hold the only lock on ``folder``, or on ``name`` in it, made if missing and swept of what killed runs left of it.

    It waits while another process has the lock. ``rule`` says which old folders a sweep may remove, see ``bundle.formats.outputs.sweep``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / (f".{name}{LOCK}" if name else LOCK)).open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        sweep(folder, rule, name)
        yield


@contextmanager
def in_use(root: Root) -> Iterator[None]:
    """Hold a shared lock on the store, made if missing: no entry is pruned meanwhile; wait while a prune is at work.

    What killed runs left is swept away first, unless another build is at work.
    """
    folder = folder_of(root)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as stream:
        with suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            tidy(folder)
        fcntl.flock(stream, fcntl.LOCK_SH)
        yield


def tidy(folder: Path) -> None:
    """Remove what killed runs left in every stage, and the locks of keys that have no entry. No other process may use the store."""
    for stage in folder.glob("[!.]*/"):
        if stage.is_symlink():
            continue
        sweep(stage, anything)
        for lock in stage.glob(f".?*{LOCK}"):
            if not (stage / lock.name[1 : -len(LOCK)]).exists():
                lock.unlink()


@contextmanager
def writing(out: Path, kind: type[Artifact]) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes ``out``, an artifact of ``kind``; see ``bundle.formats.outputs.replacing``.

    Raises:
        InputError: something is at ``out`` that is no such artifact.
    """
    with replacing(out, artifact(kind)) as folder:
        yield folder


def seal(
    kind: type[Artifact],
    folder: Path,
    *,
    parent: str | None = None,
    settings: Frozen | None = None,
    tools: dict[str, str],
) -> None:
    """Hash the files in ``folder`` and write the record that makes it an artifact of ``kind``."""
    inputs, outputs = settings.graph.interface if isinstance(settings, GraphSettings) else ((), ())
    record = Record(
        kind=kind.kind,
        files=hash_folder(folder),
        parent=parent,
        inputs=inputs,
        outputs=outputs,
        settings={} if settings is None else loads(settings.model_dump_json()),
        tools=tools,
    )
    write_record(folder, record)
