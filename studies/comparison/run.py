"""The benchmark from its plan to its rows: graphs made, answers compared, rounds taken; each step kept for a later run."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bundle.base.errors import ProjectError, SessionFailed
from bundle.formats.artifacts import write_text
from bundle.formats.image_hash import hash_images, hash_labelled
from bundle.judging.timing import disturbances, percentiles
from compile.stage.code_hash import code_hash
from compile.stage.store import StageKey, keep, tool_versions
from studies.comparison.answers import ARRAYS, Questions, drops, ratios_db, read_answers
from studies.comparison.contenders import REFERENCE, WAYS, subject_of
from studies.comparison.makers import Workshop
from studies.comparison.plan import Contest, Group
from studies.comparison.process import Process
from studies.comparison.rounds import Waiting, take_rounds
from studies.comparison.row_log import TOOLS, RowLog, row_key
from studies.comparison.subject import Subject
from studies.comparison.tables import Row

ANSWERS = "comparison.answers"
ROUNDS = "rounds"
RUNNING = "running"  # what each process opened and what it said


class Entry(NamedTuple):
    """A row that can be run: what its process opens, and the key of all that decides its figures."""

    contest: Contest
    subject: Subject
    key: str


class Accuracy(NamedTuple):
    """What a row's answers cost: relative drops, or signal-to-noise ratios, by task; or why it gave none."""

    drops: dict[str, float]
    sqnr_db: dict[str, float]
    reason: str = ""


NOTHING = Accuracy({}, {})


def run_group(group: Group, shop: Workshop, work: Path) -> tuple[Row, ...]:
    """Measure the rows of a group that are not kept, and return all of them in order; a row that cannot run says why."""
    shop.say(f"{group.name}: {len(group.contests)} rows")
    entries, failed = _prepare(group, shop)
    scratch = work / RUNNING / group.name
    scratch.mkdir(parents=True, exist_ok=True)
    found = _compare(group, entries, shop, scratch) if group.compared else dict.fromkeys(entries, NOTHING)
    failed |= {name: one.reason for name, one in found.items() if one.reason}
    waiting = {
        name: Waiting(one.subject, RowLog(work / ROUNDS / f"{one.key}.jsonl"))
        for name, one in entries.items()
        if name not in failed
    }
    shop.say(f"{group.name}: timing {len(waiting)} rows in turns")
    failed |= take_rounds(waiting, group.timing, scratch, shop.say)
    rows = []
    for contest in group.contests:
        name = contest.name
        if name in failed:
            rows.append(_row(group, contest, entries.get(name)).model_copy(update={"reason": failed[name]}))
        else:
            rows.append(_measured(group, entries[name], waiting[name].kept, found[name]))
    return tuple(rows)


def _prepare(group: Group, shop: Workshop) -> tuple[dict[str, Entry], dict[str, str]]:
    """Make what every row opens; by name, the entries and the reasons of those that cannot be made."""
    entries: dict[str, Entry] = {}
    failed: dict[str, str] = {}
    for contest in group.contests:
        try:
            subject = subject_of(contest.way, contest.model, shop)
        except ProjectError as error:
            failed[contest.name] = f"{error.message}: {error.got}"
        else:
            entries[contest.name] = Entry(contest, subject, row_key(subject, group.timing))
    return entries, failed


def _compare(group: Group, entries: Mapping[str, Entry], shop: Workshop, scratch: Path) -> dict[str, Accuracy]:
    """Have every row answer, each in a process of its own, and compare with the reference of its model."""
    first = group.contests[0]
    way = next(way for way in WAYS if way.name == REFERENCE)
    contest = first._replace(way=way)
    subject = subject_of(way, first.model, shop)
    reference = _answers(Entry(contest, subject, row_key(subject, group.timing)), shop, scratch)
    found = {}
    for name, entry in entries.items():
        try:
            found[name] = _accuracy(entry, reference, shop, scratch)
        except SessionFailed as error:
            found[name] = Accuracy({}, {}, error.got)
    return found


def _accuracy(entry: Entry, reference: Mapping[str, np.ndarray], shop: Workshop, scratch: Path) -> Accuracy:
    if not entry.contest.way.answers:
        return NOTHING
    answers = _answers(entry, shop, scratch)
    if entry.contest.dataset is None:
        return Accuracy({}, ratios_db(reference, answers))
    return Accuracy(drops(reference, answers, entry.contest.model.info), {})


def _answers(entry: Entry, shop: Workshop, scratch: Path) -> dict[str, np.ndarray]:
    """Return what a row answers, kept by its key and the images."""
    key = StageKey(
        stage=ANSWERS,
        inputs=(entry.key, _images_hash(entry.contest)),
        settings={},
        code=code_hash("bundle.tasks.metrics", "bundle.tasks.postprocess"),
        tools=tool_versions(*TOOLS),
    )

    def write(folder: Path) -> None:
        shop.say(f"  {entry.contest.name}: answering")
        _ask(entry, folder / ARRAYS, scratch)

    return read_answers(keep(shop.store, key, write, shop.say).file(ARRAYS))


def _ask(entry: Entry, out: Path, scratch: Path) -> None:
    one = entry.contest
    questions = Questions(
        dataset=one.dataset, ids=one.ids, images=tuple(path.resolve() for path in one.images), out=out.resolve()
    )
    path = scratch / f"{one.name}.questions.json"
    write_text(path, questions.model_dump_json())
    with Process(one.name, entry.subject, scratch) as process:
        process.answer(path)


def _images_hash(contest: Contest) -> str:
    if contest.dataset is not None:
        return hash_labelled(contest.dataset, contest.ids, contest.model.info.tasks)
    return hash_images(contest.images)


def _row(group: Group, contest: Contest, entry: Entry | None) -> Row:
    way = contest.way
    return Row(
        group=group.name,
        model=contest.model.name,
        name=way.name,
        label=way.label,
        key="" if entry is None else entry.key,
    )


def _measured(group: Group, entry: Entry, kept: RowLog, accuracy: Accuracy) -> Row:
    """Return the row of what was measured."""
    turns = kept.turns[: group.timing.runs]
    latency, end = percentiles([turn.ms for turn in turns]), kept.end
    label = entry.contest.way.label
    figures: dict[str, object] = {
        "latency": latency,
        "sittings": tuple(dict.fromkeys(one.sitting for one in turns)),
        "bytes": _size(entry.subject) if entry.contest.way.answers else None,
        "drops": accuracy.drops,
        "sqnr_db": accuracy.sqnr_db,
    }
    if end is not None:
        figures |= {"computes": end.computes, "peak_mib": end.peak_mib, "load": end.load}
        figures["disturbed"] = disturbances(end.load, {label: latency})
    return _row(group, entry.contest, entry).model_copy(update=figures)


def _size(subject: Subject) -> int:
    """Return the bytes of the files that a subject loads."""
    paths = [one for path in subject.files for one in ([path] if path.is_file() else sorted(path.iterdir()))]
    paths += [path.with_suffix(".bin") for path in paths if path.suffix == ".xml"]
    return sum(path.stat().st_size for path in paths)
