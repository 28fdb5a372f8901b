"""The commands of a study, each in a process of its own, with a journal from which a killed run resumes.

A line of a journal holds the seconds since the line before, and the key of all that the command's answer depends on. The
seconds of several sittings add up.
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
from bundle.formats.artifacts import hash_folder
from compile.stage.code_hash import code_hash
from compile.stage.store import StageKey, tool_versions
from compile.stage.tools import STAGES

ANSWERED = (0, 1)  # exit codes of a command that left its answer: good, or not within budget
ERROR = "error: "
GOT = "  got:      "


class Line(Frozen):
    """A line of a journal; the last one has the exit code, and why the command left nothing, if it did not."""

    key: str
    seconds: float
    code: int | None = None
    reason: str = ""


class Job(NamedTuple):
    """One command of a row called ``name``; ``folder`` is what it writes."""

    row: str
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

    def key(self, study: str, data: Path, *inputs: str) -> str:
        """Return the key of all that the answer depends on: the words, the data, and the digests of other ``inputs``."""
        words: list[JsonValue] = [*self.words]
        return StageKey(
            stage=study,
            inputs=(*inputs, *hash_folder(data).values()),
            settings={"words": words},
            code=code_hash("compile.pipeline"),
            tools=tool_versions(*(name for stage in STAGES.values() for name in stage.tools)),
        ).digest


def run_job(job: Job, key: str, say: Callable[[str], None]) -> None:
    """Run a command to its end unless its answer is there already, and keep its seconds and why it failed in its journal."""
    log = AppendLog(job.journal)
    if any(line.key != key for line in job.lines()):
        log.keep(0)
    if job.folder.is_dir() and log.entries and not job.missing:
        say(f"{job.row}, {job.name}: taken from {job.folder}")
        return
    say(f"{job.row}, {job.name}: started")
    start, said = perf_counter(), list[str]()
    with subprocess.Popen(module(*job.words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        for text in child.stderr or ():
            said.append(text)
            say(f"{job.row}, {job.name}: {text.rstrip()}")
            now = perf_counter()
            log.add(Line(key=key, seconds=now - start).model_dump_json())
            start = now
    last = Line(key=key, seconds=perf_counter() - start, code=child.returncode, reason="; ".join(_reasons(said)))
    log.add(last.model_dump_json())
    say(f"{job.row}, {job.name}: {job.missing or f'done in {job.seconds:.0f} s'}")


def _reasons(said: list[str]) -> Iterator[str]:
    """Yield what a command's error says, and what it got instead."""
    for text in said:
        for start in (ERROR, GOT):
            if text.startswith(start):
                yield text.removeprefix(start).strip()
