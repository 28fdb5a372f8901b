"""The interleaved run: each row's process takes its turn in every round; a row whose rounds are kept is left out."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple, TypeVar

from bundle.base.errors import SessionFailed
from bundle.judging.timing import glance, load_between
from compile.stage.config import TimingConfig
from studies.comparison.process import Process
from studies.comparison.row_log import End, RowLog, Turn
from studies.comparison.subject import Subject

Result = TypeVar("Result")


class Waiting(NamedTuple):
    """A row to be timed: what its process opens, and the rounds that are kept of it."""

    subject: Subject
    kept: RowLog


def take_rounds(
    rows: Mapping[str, Waiting], timing: TimingConfig, scratch: Path, say: Callable[[str], None]
) -> dict[str, str]:
    """Measure what is missing of each row's rounds; return by name why a row could not be run.

    All processes are there at once, and one works at a time: round by round, each of those that lack that round has its turn.
    """
    failed: dict[str, str] = {}
    missing = {name: row for name, row in rows.items() if not row.kept.finished(timing.runs)}
    if not missing:
        return failed
    sitting, before = datetime.now(timezone.utc).isoformat(timespec="seconds"), glance()
    with ExitStack() as stack:
        running = _start(missing, timing, scratch, stack, failed, say)
        for number in range(timing.runs):
            for name in [name for name in running if len(missing[name].kept.turns) <= number]:
                ms = _try(name, running, failed, lambda one: one.turn(timing.burst))
                if ms is not None:
                    missing[name].kept.add(Turn(sitting=sitting, ms=ms))
        load = load_between(before, glance())
        for name, process in list(running.items()):
            said = _try(name, running, failed, lambda one: (one.end(),))
            if said is not None:
                missing[name].kept.add(End(sitting=sitting, computes=process.computes, peak_mib=said[0], load=load))
    return failed


def _start(
    rows: Mapping[str, Waiting],
    timing: TimingConfig,
    scratch: Path,
    stack: ExitStack,
    failed: dict[str, str],
    say: Callable[[str], None],
) -> dict[str, Process]:
    """Start the processes one after the other, each warmed up before the next."""
    running: dict[str, Process] = {}
    for name, row in rows.items():
        say(f"  {name}: {len(row.kept.turns)} of {timing.runs} rounds are kept")
        try:
            running[name] = stack.enter_context(Process(name, row.subject, scratch))
        except SessionFailed as error:
            failed[name] = error.got
        else:
            _try(name, running, failed, lambda one: one.warm(timing.warmup))
    return running


def _try(
    name: str, running: dict[str, Process], failed: dict[str, str], order: Callable[[Process], Result]
) -> Result | None:
    """Give an order; a process that dies of it is taken out of the run, with the reason."""
    try:
        return order(running[name])
    except SessionFailed as error:
        failed[name] = error.got
        del running[name]
        return None
