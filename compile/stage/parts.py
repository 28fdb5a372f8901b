"""The independent parts of a stage: each is an entry of the store, made in this process or on workers, by the same code.

What crosses to a worker is which work it is, with settings, hashes and paths. The worker computes each part's key from its own
files, code and tools, and refuses if that is another one. It answers nothing: a part is read from the store, and is checked by
hash there. So a killed build keeps the parts that it has made, and parts are equal whoever made them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from bundle.base.errors import ArtifactError, InputError, SessionFailed
from bundle.base.frozen import Frozen
from bundle.base.isolated import isolate
from bundle.formats.artifacts import hash_file, load
from compile.stage.cluster import Places, answers, connected, send
from compile.stage.store import Kept, Root, StageKey, folder_of, keep

if TYPE_CHECKING:
    from distributed import Client, Future

Measure: TypeAlias = Callable[[str, Path], None]
"""Writes the files of one part into a folder."""
AHEAD = 2
"""Shares a worker of what is made ahead: smaller ones than those of what is waited for, for something else may come."""


class Work(Frozen, ABC):
    """What a worker gets to know of a stage. ``files`` are those that it reads, each with its sha256.

    A part has a text of its own, ``first:end``: which of the items in their order it has.
    """

    files: dict[str, str]

    @abstractmethod
    def keys(self, parts: Sequence[str]) -> dict[str, StageKey]:
        """Return the key of all that each part depends on."""

    @abstractmethod
    def open(self) -> AbstractContextManager[Measure]:
        """Open what every part needs; parts are measured in ascending order."""


class Sent(NamedTuple):
    """Parts of a work that workers have been asked for; they report each one under the topic."""

    work: Work
    topic: str
    futures: "list[Future[bool]]"


class Spread:
    """Where the parts of one build are made: in this process, or on workers that start with the first part.

    ``store`` is that of the build's stages. Parts are kept in its folder here, wherever it is.
    """

    def __init__(self, store: Root, workers: int = 0) -> None:
        self.store = store
        self._places = Places(workers)
        self._stack = ExitStack()
        self._client: Client | None = None
        self._ahead: Sent | None = None

    def __enter__(self) -> "Spread":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._client = None

    def run(
        self,
        work: Work,
        parts: Sequence[str],
        *,
        opened: Callable[[], AbstractContextManager[Measure]] | None = None,
        done: Callable[[int], None] = lambda count: None,
    ) -> list[Kept]:
        """Make the parts that the store does not have; return all, in their order.

        ``done`` is called with how many there are, last with the number of all.

        ``opened`` opens in this process what ``work.open`` opens on a worker, where it is at hand already.

        Raises:
            InputError: a worker has other files, code or packages; Dask cannot be reached.
            SessionFailed: every worker that took a part was killed.
            TargetUnavailable: Dask is not installed.
        """
        keys, folder = work.keys(parts), folder_of(self.store)
        missing, most = _missing(keys, folder), 0

        def count(made: int) -> None:
            nonlocal most
            there = len(keys) - len(missing) + made
            if there > most:
                most = there
                done(there)

        if missing and self._ahead is not None and self._ahead.work == work:
            self._wait(self._ahead, count)
            missing = _missing(keys, folder)
        if missing and self._places.workers:
            self._wait(self._send(work, missing), count)
        elif missing:
            made = iter(range(1, len(missing) + 1))
            make_parts(work, missing, folder, opened or work.open, lambda part: count(next(made)))
        count(len(missing))
        return [keep(folder, key, _absent, lambda line: None) for key in keys.values()]

    @contextmanager
    def ahead(self, work: Work, parts: Sequence[str]) -> Iterator[None]:
        """Let workers that wait make parts that the block may ask ``run`` for; at its end none is at work on them.

        One worker, or none, makes them when they are asked for.
        """
        missing = _missing(work.keys(parts), folder_of(self.store)) if self._places.workers > 1 else {}
        if not missing:
            yield
            return
        from distributed import as_completed

        with TemporaryDirectory() as wanted:
            self._ahead = sent = self._send(work, missing, wanted, shares=AHEAD * self._places.workers, priority=-1)
            try:
                yield
            finally:
                self._ahead = None
        for _ in as_completed(sent.futures, loop=self._connected().loop):
            pass

    def _send(
        self, work: Work, digests: Mapping[str, str], wanted: str = "", *, shares: int = 0, priority: int = 0
    ) -> Sent:
        kind, asked, topic = type(work), work.model_dump_json(), min(digests.values())
        folder = str(folder_of(self.store))
        orders = {
            f"{kind.__name__} {' '.join(share)} {min(share.values())}": (kind, asked, share, folder, topic, wanted)
            for share in map(dict, shared_out(tuple(digests.items()), shares or self._places.workers))
        }
        return Sent(work, topic, send(self._connected(), make_on_worker, orders, priority=priority))

    def _wait(self, sent: Sent, done: Callable[[int], None]) -> None:
        client = self._connected()
        with _reported(client, sent.topic, done):
            for name, answer in answers(client, sent.futures, self._places):
                if answer is None:
                    raise _killed(name)

    def _connected(self) -> "Client":
        if self._client is None:
            self._client = self._stack.enter_context(connected(self._places))
        return self._client


def of_part(stage: StageKey, part: str, *inputs: str) -> StageKey:
    """Return the key of one part; ``stage`` has what all parts depend on, ``inputs`` are this one's own."""
    changes = {"inputs": (*stage.inputs, *inputs), "settings": stage.settings | {"part": part}}
    return stage.model_copy(update=changes)


def spans(count: int, size: int) -> tuple[str, ...]:
    """Return parts of ``size`` items each, the last one of what is left: ``0:8``, ``8:16``."""
    return tuple(f"{first}:{min(first + size, count)}" for first in range(0, count, size))


def span(part: str) -> range:
    """Return the items of a part."""
    first, _, end = part.partition(":")
    return range(int(first), int(end))


def shared_out(items: Sequence[tuple[str, str]], count: int) -> Iterator[Sequence[tuple[str, str]]]:
    """Yield at most ``count`` shares of about equal length, none of them empty, each of items in a row."""
    bounds = [number * len(items) // count for number in range(count + 1)]
    for first, end in pairwise(bounds):
        if first < end:
            yield items[first:end]


def make_parts(
    work: Work,
    digests: Mapping[str, str],
    folder: Path,
    opened: Callable[[], AbstractContextManager[Measure]],
    made: Callable[[str], None],
    more: Callable[[], bool] = lambda: True,
) -> None:
    """Make the parts that the store in ``folder`` does not have, while ``more`` is true; what they need is opened with the first."""
    with ExitStack() as stack:
        found: list[Measure] = []

        def write(part: str, out: Path) -> None:
            if not found:
                _require(work.files)
                found.append(stack.enter_context(opened()))
            found[0](part, out)

        for part, key in work.keys(tuple(digests)).items():
            if not more():
                return
            if key.digest != digests[part]:
                raise _other(
                    "a worker has other data, code or packages than the build", digests[part], key.digest, key.stage
                )
            keep(folder, key, lambda out, part=part: write(part, out), lambda line: None)  # type: ignore[misc]
            made(part)


def make_on_worker(kind: type[Work], asked: str, digests: dict[str, str], folder: str, topic: str, wanted: str) -> bool:
    """Make parts in a worker of Dask, which reports each one, until the folder ``wanted`` is gone, if one is named; always True."""
    from distributed import get_worker

    isolate()
    worker, work = get_worker(), kind.model_validate_json(asked)

    def more() -> bool:
        return not wanted or Path(wanted).exists()

    make_parts(work, digests, Path(folder), work.open, lambda part: worker.log_event(topic, part), more)
    return True


@contextmanager
def _reported(client: "Client", topic: str, done: Callable[[int], None]) -> Iterator[None]:
    """Call ``done`` with the number of parts that workers report."""
    made = set[str]()

    def report(event: tuple[float, str]) -> None:
        made.add(event[1])
        done(len(made))

    client.subscribe_topic(topic, report)
    try:
        yield
    finally:
        client.unsubscribe_topic(topic)


def _missing(keys: Mapping[str, StageKey], folder: Path) -> dict[str, str]:
    """Return the digest of each part that the store does not have."""
    return {part: key.digest for part, key in keys.items() if not _there(folder / key.name)}


def _there(entry: Path) -> bool:
    try:
        load(Kept, entry)
    except ArtifactError:
        return False
    return True


def _require(files: Mapping[str, str]) -> None:
    for path, digest in files.items():
        if (got := hash_file(Path(path))) != digest:
            raise _other("a file is not what the build made", digest, got, path)


def _other(message: str, expected: str, got: str, where: str) -> InputError:
    return InputError(
        message,
        expected=expected,
        got=got,
        where=where,
        fix="change nothing while a build runs; the same command goes on with what is finished",
    )


def _absent(folder: Path) -> None:
    raise _other("a worker left no part", "an entry of the store", "none", str(folder))


def _killed(parts: str) -> SessionFailed:
    return SessionFailed(
        "every worker that took these parts was killed",
        expected="a worker that lives until its parts are made",
        got="the end of the process, again and again",
        where=parts,
        fix="give the machine more memory, or build with fewer workers; what is finished is in the store",
    )
