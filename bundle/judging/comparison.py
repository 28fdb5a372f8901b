"""Two results against each other, task by task and image by image, from the per-image arrays that reports keep.

``b`` is judged against ``a`` as a compiled model is against its reference (bundle/judging/verdict.py), with the
two-sided gate. What cannot be compared is left out, and ``restrictions`` says so: images and tasks of one result alone,
metrics that differ, outputs that were not finite. Of two budgets the smaller one counts.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import InputError
from bundle.base.frozen import Frozen
from bundle.base.limits import LIMITS, NotNegative
from bundle.judging import wording
from bundle.judging.baseline import unpack_rows
from bundle.judging.regression_report import (
    Device,
    ExecutedOn,
    Interval,
    Number,
    PackedArrays,
    RegressionReport,
    TaskResult,
)
from bundle.judging.verdict import RESAMPLES, Cause, Rule, Verdict, Weighed, delta_m, delta_m_interval, weigh
from bundle.tasks.agreement import AGREEMENT
from bundle.tasks.metrics import Direction, Metric
from bundle.tasks.table import task

Floats = NDArray[np.float64]
SEED = 0  # of the bootstrap: a report does not keep its bundle's


class Side(Frozen):
    """One of the two results: where it came from, what ran, and the latency it names (null: not timed)."""

    source: str
    model: str
    target: str
    device: Device
    precision: str
    executed_on: ExecutedOn
    images: int
    latency_ms: Number


class ImageRow(Frozen):
    """One image: the metric of this image alone, and by how much ``b`` is worse, in the metric's unit."""

    id: str
    a: Number
    b: Number
    worse_by: Number


class TaskComparison(Frozen):
    """One task: ``a`` and ``b`` over the images of both. A drop is relative to ``a`` and positive where ``b`` is worse.

    ``images`` are ordered: first the one that became worst. Images without a label are not among them.
    """

    metric: str
    direction: Direction
    a: Number
    b: Number
    drop_relative: Number
    interval: Interval
    budget: NotNegative
    verdict: Verdict
    cause: Cause | None
    labelled_images: int
    worse: int
    better: int
    equal: int
    images: tuple[ImageRow, ...]


class Comparison(Frozen):
    """What ``tdss compare --json`` prints. ``images`` is the number of images that both results have."""

    a: Side
    b: Side
    images: int
    tasks: dict[str, TaskComparison]
    delta_m: Number
    delta_m_interval: Interval
    restrictions: tuple[str, ...]


class Given(NamedTuple):
    """A result to compare: its source for people, the report, and the latency (None: not timed)."""

    source: str
    report: RegressionReport
    latency_ms: float | None


class _Left(Exception):  # not an error: why a task is left out
    """Why one task cannot be compared."""


def compare_results(a: Given, b: Given, *, resamples: int = RESAMPLES) -> Comparison:
    """Compare two results on the images and tasks that both have.

    Raises:
        InputError: one keeps no per-image arrays, or they cannot be read; no image or no task is in both.
        ConfigError: a task is none of this version's.
    """
    kept_a, kept_b = _arrays(a), _arrays(b)
    ids = [name for name in kept_a.ids if name in set(kept_b.ids)]
    notes = [*_about_images(a, b, len(ids)), *_about_tasks(a.report, b.report)]
    if not ids:
        raise _nothing("image", kept_a.ids, kept_b.ids)
    judged: dict[str, Weighed] = {}
    tasks: dict[str, TaskComparison] = {}
    for name in [name for name in a.report.tasks if name in b.report.tasks]:
        try:
            figure, ours, theirs = _pair(name, (a.report, kept_a), (b.report, kept_b), ids)
        except _Left as reason:
            notes.append(f"{name} is left out: {reason}")
            continue
        budgets = (a.report.tasks[name].budget, b.report.tasks[name].budget)
        rule = Rule(figure.reduce_many, figure.direction, min(budgets), SEED, resamples, "two-sided")
        judged[name] = weigh(ours, theirs, rule)
        tasks[name] = _row(figure, judged[name], min(budgets), _images(figure, ids, ours, theirs))
        notes += _about_task(name, a.report.tasks[name], b.report.tasks[name])
    if not tasks:
        raise _nothing("task", tuple(a.report.tasks), tuple(b.report.tasks), notes)
    return Comparison(
        a=_side(a),
        b=_side(b),
        images=len(ids),
        tasks=tasks,
        delta_m=delta_m([one.judgement.drop for one in judged.values()]),
        delta_m_interval=delta_m_interval(list(judged.values())),
        restrictions=tuple(notes),
    )


def _arrays(one: Given) -> PackedArrays:
    if one.report.arrays is None:
        raise InputError(
            "a result keeps no per-image arrays",
            expected="arrays in regression.json",
            got="none",
            where=one.source,
            fix="judge it again with tdss regress",
        )
    return one.report.arrays


def _nothing(what: str, a: Sequence[str], b: Sequence[str], notes: Sequence[str] = ()) -> InputError:
    got = "; ".join(notes) or f"{', '.join(a[:3])} … in A and {', '.join(b[:3])} … in B"
    return InputError(
        f"no {what} is in both results",
        expected=f"at least one {what} in common",
        got=got,
        where="A and B",
        fix="judge both on the same images: bundles of one build's vectors, or the same --data",
    )


def _about_images(a: Given, b: Given, common: int) -> Iterator[str]:
    """Say which images count, where the two results do not have the same."""
    sizes = tuple(len(one.report.arrays.ids) if one.report.arrays else 0 for one in (a, b))
    if (common, common) != sizes:
        yield f"only {wording.plural(common, 'image')} of {sizes[0]} in A and {sizes[1]} in B are in both, and only they count"
    if a.report.source != b.report.source:
        yield f"A was judged on {a.report.source}, B on {b.report.source}: images are matched by their ids"


def _about_tasks(a: RegressionReport, b: RegressionReport) -> Iterator[str]:
    for letter, here, there in (("A", a, b), ("B", b, a)):
        alone = [name for name in here.tasks if name not in there.tasks]
        if alone:
            yield f"only {letter} has {', '.join(alone)}"


def _about_task(name: str, a: TaskResult, b: TaskResult) -> Iterator[str]:
    """Say what limits the comparison of a task that is compared."""
    if a.budget != b.budget:
        budgets = f"{wording.budget(a.budget)} in A and {wording.budget(b.budget)} in B"
        yield f"{name} has a budget of {budgets}: the smaller one counts"
    if a.metric == AGREEMENT:
        yield f"{name} has no labels: each result agrees with its own reference, and they may be two"
    elif a.reference != b.reference:
        values = [wording.metric_value(one.metric, one.reference) for one in (a, b)]
        yield f"{name} was judged against two references or two sets of images: {values[0]} in A, {values[1]} in B"


def _pair(
    name: str, a: tuple[RegressionReport, PackedArrays], b: tuple[RegressionReport, PackedArrays], ids: list[str]
) -> tuple[Metric, Floats, Floats]:
    """Return a task's metric, and both results' arrays ``[N, …]`` of the images ``ids``."""
    metrics = [report.tasks[name].metric for report, _ in (a, b)]
    if metrics[0] != metrics[1]:
        raise _Left(f"A measures {metrics[0]}, B {metrics[1]}")
    flat = []
    for letter, (_, kept) in (("A", a), ("B", b)):
        if name not in kept.tasks:
            raise _Left(f"{letter} keeps no arrays of it")
        place = {identifier: index for index, identifier in enumerate(kept.ids)}
        flat.append(unpack_rows(kept.tasks[name], len(kept.ids))[[place[identifier] for identifier in ids]])
    if flat[0].shape != flat[1].shape:
        raise _Left(f"A has {flat[0].shape[1]} numbers an image, B {flat[1].shape[1]}: another number of classes")
    if not np.isfinite(flat[0]).all():
        raise _Left("A gave NaN or infinity")
    figure = _figure(name, metrics[0], flat[0].shape[1])
    ours, theirs = (array.reshape(len(ids), *figure.shape) for array in flat)
    return figure, ours, theirs


def _figure(name: str, metric: str, numbers: int) -> Metric:
    """Return the metric with this key whose array of an image has so many numbers: its classes follow from them."""
    rows = [row for row in (task(name), task(name).by_agreement()) if row.metric == metric]
    channels = range(2, LIMITS["classes"].most + 1) if task(name).channels is None else [task(name).channels or 1]
    for figure in (row.judge(count) for row in rows for count in channels):
        if math.prod(figure.shape) == numbers:
            return figure
    raise _Left(f"this version knows no {metric} of {numbers} numbers an image")


def _images(figure: Metric, ids: list[str], ours: Floats, theirs: Floats) -> tuple[ImageRow, ...]:
    """Return the images that count, the one that became worst first; one that is not finite in B is worst of all."""
    a, b = (np.asarray(figure.reduce_many(arrays), np.float64) for arrays in (ours, theirs))
    b = np.where(np.isfinite(theirs.reshape(len(ids), -1)).all(axis=1), b, np.nan)
    worse = a - b if figure.direction == "higher" else b - a
    there = np.flatnonzero(~np.isnan(a) | ~np.isfinite(theirs.reshape(len(ids), -1)).all(axis=1))
    order = sorted(there, key=lambda index: (-np.inf if np.isnan(worse[index]) else -worse[index], ids[index]))
    return tuple(
        ImageRow(id=ids[index], a=float(a[index]), b=float(b[index]), worse_by=float(worse[index])) for index in order
    )


def _row(figure: Metric, weighed: Weighed, budget: float, images: tuple[ImageRow, ...]) -> TaskComparison:
    judged = weighed.judgement
    signs = [math.inf if row.worse_by is None else row.worse_by for row in images]
    return TaskComparison(
        metric=figure.name,
        direction=figure.direction,
        a=judged.reference,
        b=judged.compiled,
        drop_relative=judged.drop,
        interval=judged.interval,
        budget=budget,
        verdict=judged.verdict,
        cause=judged.cause,
        labelled_images=judged.labelled_images,
        worse=sum(sign > 0 for sign in signs),
        better=sum(sign < 0 for sign in signs),
        equal=sum(sign == 0 for sign in signs),
        images=images,
    )


def _side(one: Given) -> Side:
    report = one.report
    return Side(
        source=one.source,
        model=report.model,
        target=report.target,
        device=report.device,
        precision=report.precision,
        executed_on=report.executed_on,
        images=report.images,
        latency_ms=one.latency_ms,
    )
