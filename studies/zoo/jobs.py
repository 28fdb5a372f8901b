"""The commands that the table of the zoo needs, each in a process of its own, with a journal from which a killed run resumes.

A row has three: a bundle for each of two targets, and a fold without its last task. A line of a journal holds the seconds since
the line before, and the key of all that the command's answer depends on. The seconds of several sittings add up.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from pydantic import JsonValue

from bundle.base.append_log import AppendLog
from bundle.base.frozen import Frozen
from bundle.base.isolated import module
from bundle.formats.artifacts import SIDECAR, Exported, Record, hash_folder
from bundle.formats.manifest import read_manifest
from compile.stage.code_hash import code_hash
from compile.stage.store import STORE, StageKey, tool_versions
from compile.stage.tools import STAGES
from studies.zoo.rows import Row
from tdss.config_file import checkpoint_digest

TARGETS = ("intel", "jetson")
FEWER = "growth"
JOURNAL = ".journal"
ANSWERED = (0, 1)  # exit codes of a command that left its answer: good, or not within budget
ERROR = "error: "
GOT = "  got:      "


class Terms(NamedTuple):
    """What every command of a run shares: the labelled folder, how many images judge, and where everything is written."""

    data: Path
    images: int
    out: Path


class Line(Frozen):
    """A line of a journal; the last one has the exit code, and why the command left nothing, if it did not."""

    key: str
    seconds: float
    code: int | None = None
    reason: str = ""


class Job(NamedTuple):
    """One command of a row; ``folder`` is what it writes."""

    row: Row
    name: str
    words: tuple[str, ...]
    folder: Path
    journal: Path

    def lines(self) -> tuple[Line, ...]:
        """Read the journal."""
        return tuple(Line.model_validate_json(entry) for entry in AppendLog(self.journal).entries)

    @property
    def seconds(self) -> float:
        """How long the command took, over all sittings."""
        return sum(line.seconds for line in self.lines())

    @property
    def missing(self) -> str:
        """Why the command has left nothing; "" where it has."""
        lines = self.lines()
        if not lines or lines[-1].code is None:
            return "not run"
        last = lines[-1]
        return "" if last.code in ANSWERED else f"not run: {last.reason or f'exit code {last.code}'}"


def bundle_job(row: Row, target: str, terms: Terms) -> Job:
    """Return the command that builds a row's bundle for a target."""
    options = ("--data", str(terms.data), "--evaluation-count", str(terms.images), "--out", str(terms.out))
    words = ("cli.main", "pipeline", "--target", target, "--checkpoint", str(row.folder), "--no-search", *options)
    return Job(row, target, words, terms.out / row.name / target, _journal(row, target, terms))


def growth_job(row: Row, terms: Terms, model: Path) -> Job:
    """Return the command that folds a row, given as a checkpoint or a graph, for the first target without the last task."""
    tasks, folder = ",".join(list(row.config.model.tasks)[:-1]), terms.out / FEWER / row.name
    options = ("--images", str(terms.data), "--tasks", tasks, "--target", TARGETS[0], "--out", str(folder))
    words = ("cli.main", "fold", str(model), *options)
    return Job(row, FEWER, words, folder, _journal(row, FEWER, terms))


def _unfolded(row: Row, terms: Terms) -> Path:
    """Return the graph that the first bundle was folded from, in the store; the checkpoint if it is not there."""
    bundle = bundle_job(row, TARGETS[0], terms)
    if bundle.folder.is_dir() and not bundle.missing:
        exported = read_manifest(bundle.folder).parents.get(Exported.kind)
        for path in sorted((terms.out / STORE / "simplify").glob(f"*/{SIDECAR}")):
            if Record.model_validate_json(path.read_bytes()).parent == exported:
                return path.parent
    return row.folder


def _journal(row: Row, name: str, terms: Terms) -> Path:
    return terms.out / JOURNAL / f"{row.name}-{name}.jsonl"


def jobs(row: Row, terms: Terms) -> Iterator[Job]:
    """Yield the commands of a row, in their order: the last one goes on from what the first one left."""
    yield from (bundle_job(row, target, terms) for target in TARGETS)
    yield growth_job(row, terms, _unfolded(row, terms))


def run_job(job: Job, terms: Terms, say: Callable[[str], None]) -> None:
    """Run a command to its end unless its answer is there already, and keep its seconds and why it failed in its journal."""
    key, log = _key(job, terms), AppendLog(job.journal)
    if any(line.key != key for line in job.lines()):
        log.keep(0)
    if job.folder.is_dir() and log.entries and not job.missing:
        say(f"{job.row.name}, {job.name}: taken from {job.folder}")
        return
    say(f"{job.row.name}, {job.name}: started")
    start, said = perf_counter(), list[str]()
    with subprocess.Popen(module(*job.words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        for text in child.stderr or ():
            said.append(text)
            say(f"  {text.rstrip()}")
            now = perf_counter()
            log.add(Line(key=key, seconds=now - start).model_dump_json())
            start = now
    last = Line(key=key, seconds=perf_counter() - start, code=child.returncode, reason="; ".join(_reasons(said)))
    log.add(last.model_dump_json())
    say(f"{job.row.name}, {job.name}: {job.missing or f'done in {job.seconds:.0f} s'}")


def _key(job: Job, terms: Terms) -> str:
    words: list[JsonValue] = [*job.words]
    return StageKey(
        stage="zoo",
        inputs=(checkpoint_digest(job.row.folder), *hash_folder(terms.data).values()),
        settings={"words": words},
        code=code_hash("compile.pipeline"),
        tools=tool_versions(*(name for stage in STAGES.values() for name in stage.tools)),
    ).digest


def _reasons(said: list[str]) -> Iterator[str]:
    """Yield what a command's error says, and what it got instead."""
    for text in said:
        for start in (ERROR, GOT):
            if text.startswith(start):
                yield text.removeprefix(start).strip()
