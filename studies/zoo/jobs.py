"""The commands that the table of the zoo needs, each in a process of its own, with a journal from which a killed run resumes.

A row has three: a bundle for each of two targets, and a fold without its last task. Several rows are built at once. What
measures comes last, for where one row measures the others wait, each at the end of a stage.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event
from typing import NamedTuple

from bundle.formats.artifacts import SIDECAR, Exported, Record
from bundle.formats.manifest import read_manifest
from compile.stage.machine import Machine
from compile.stage.store import STORE
from studies.command_journal import Job, run_job
from studies.zoo.rows import Row
from tdss.config_file import checkpoint_digest

TARGETS = ("intel", "jetson")
MEASURES, EMULATES = TARGETS
FEWER = "growth"
JOURNAL, MACHINE = ".journal", ".machine"


class Terms(NamedTuple):
    """What every command of a run shares: the labelled folder, how many images judge, and where everything is written."""

    data: Path
    images: int
    out: Path


def bundle_job(row: Row, target: str, terms: Terms) -> Job:
    """Return the command that builds a row's bundle for a target."""
    options = ("--data", str(terms.data), "--evaluation-count", str(terms.images), "--out", str(terms.out))
    shared = ("--no-search", "--threads", "1", "--machine", str(terms.out / MACHINE))
    words = ("cli.main", "pipeline", "--target", target, "--checkpoint", str(row.folder), *shared, *options)
    return Job(row.name, target, words, terms.out / row.name / target, _journal(row, target, terms))


def growth_job(row: Row, terms: Terms, model: Path) -> Job:
    """Return the command that folds a row, given as a checkpoint or a graph, for the first target without the last task."""
    tasks, folder = ",".join(list(row.config.model.tasks)[:-1]), terms.out / FEWER / row.name
    options = ("--images", str(terms.data), "--tasks", tasks, "--target", MEASURES, "--out", str(folder))
    words = ("cli.main", "fold", str(model), *options)
    return Job(row.name, FEWER, words, folder, _journal(row, FEWER, terms))


def _unfolded(row: Row, terms: Terms) -> Path:
    """Return the graph that the first bundle was folded from, in the store; the checkpoint if it is not there."""
    bundle = bundle_job(row, EMULATES, terms)
    if bundle.folder.is_dir() and not bundle.missing:
        exported = read_manifest(bundle.folder).parents.get(Exported.kind)
        for path in sorted((terms.out / STORE / "simplify").glob(f"*/{SIDECAR}")):
            if Record.model_validate_json(path.read_bytes()).parent == exported:
                return path.parent
    return row.folder


def _journal(row: Row, name: str, terms: Terms) -> Path:
    return terms.out / JOURNAL / f"{row.name}-{name}.jsonl"


def jobs(row: Row, terms: Terms) -> Iterator[Job]:
    """Yield the commands of a row that measure nothing, in their order: the second goes on from what the first left."""
    yield bundle_job(row, EMULATES, terms)
    yield growth_job(row, terms, _unfolded(row, terms))


def measuring_jobs(row: Row, terms: Terms) -> Iterator[Job]:
    """Yield the command of a row that measures; it goes on from what the others left."""
    yield bundle_job(row, MEASURES, terms)


def job_key(row: Row, job: Job, terms: Terms) -> str:
    """Return the key of a command of a row."""
    return job.key("zoo", terms.data, checkpoint_digest(row.folder))


def run_rows(rows: Sequence[Row], terms: Terms, at_once: int, say: Callable[[str], None]) -> None:
    """Run the commands of each row, ``at_once`` rows beside each other, each on one thread; an interrupt ends all of them."""
    stopped = Event()
    os.environ.setdefault("OMP_NUM_THREADS", "1")

    def run(commands: Iterator[Job], row: Row) -> None:
        for job in commands:
            waits = Machine(terms.out / MACHINE).working() if job.name == FEWER else nullcontext()
            with stopping(stopped), waits:
                if not stopped.is_set():
                    run_job(job, job_key(row, job, terms), say)

    for some in (jobs, measuring_jobs):
        with ThreadPoolExecutor(at_once) as pool, stopping(stopped):
            for done in as_completed([pool.submit(run, some(row, terms), row) for row in rows]):
                done.result()


@contextmanager
def stopping(stopped: Event) -> Iterator[None]:
    """Set the event if the block raises."""
    try:
        yield
    except BaseException:
        stopped.set()
        raise
