"""The table of ``tdss compare`` in a terminal: what each task is in both results, and which images became worst."""

from typing import TYPE_CHECKING

from bundle.judging import wording
from bundle.judging.comparison import Comparison, Side, TaskComparison
from bundle.judging.verdict import Verdict
from report.terminal import STYLES, verdict_table

if TYPE_CHECKING:
    from rich.table import Table

WORDS: dict[Verdict, str] = {
    "pass": "alike",
    "regression": "worse",
    "inconclusive": "undecided",
    "improvement": "better",
}
"""What a verdict says of B."""
COLUMNS = ("task", "A", "B", "drop", "95% interval", "n", "budget", "B is")
SHOWN = 3  # images of a task in a terminal


def side(one: Side) -> str:
    """Say what one result is of, where it ran, and how long an image took."""
    where = "on the device" if one.executed_on == "device" else "not executed on a device"
    timed = "not timed" if one.latency_ms is None else f"{one.latency_ms:.1f} ms"
    return f"{one.model} → {one.target}, {one.precision} {where} ({one.device.name}), {timed}: {one.source}"


def comparison_table(comparison: Comparison) -> "Table":
    """Return one row per task: A, B, the drop from A to B with its interval, the images that count, the budget, the verdict.

    Raises:
        TargetUnavailable: rich is not installed, as on a device.
    """
    rows = [(*cells(name, row), verdict(row)) for name, row in comparison.tasks.items()]
    heading = f"A  {side(comparison.a)}\nB  {side(comparison.b)}"
    caption = f"drop: from A to B, positive is worse\n\n{delta_m(comparison)}"
    return verdict_table(heading, caption, COLUMNS, rows, [STYLES[row.verdict] for row in comparison.tasks.values()])


def cells(name: str, row: TaskComparison) -> tuple[str, ...]:
    """Return a row's texts but the last, in the order of ``COLUMNS``."""
    return (
        name,
        wording.metric_value(row.metric, row.a),
        wording.metric_value(row.metric, row.b),
        wording.percent(row.drop_relative),
        wording.interval(row.interval),
        str(row.labelled_images),
        wording.budget(row.budget),
    )


def verdict(row: TaskComparison) -> str:
    """Return what B is, with its sign."""
    return f"{wording.MARKS[row.verdict]} {WORDS[row.verdict]}"


def delta_m(comparison: Comparison) -> str:
    """Return Δm of B over A with its interval, and the number of images."""
    ends = comparison.delta_m_interval
    interval = "" if None in ends else f" {wording.interval_of_points(ends)}"
    return f"Δm {wording.points(comparison.delta_m)}{interval} on {wording.plural(comparison.images, 'image')}"


def counts(row: TaskComparison) -> str:
    """Say on how many images B is worse, better and equal."""
    return f"worse on {row.worse}, better on {row.better}, equal on {row.equal}"


def notes(comparison: Comparison) -> tuple[str, ...]:
    """Return what the table leaves out: the images that became worst, and what was not compared."""
    lines = []
    for name, row in comparison.tasks.items():
        worst = [image for image in row.images[:SHOWN] if image.worse_by is None or image.worse_by > 0]
        shown = ", ".join(f"{one.id} {_pair(row.metric, one.a, one.b)}" for one in worst)
        lines.append(f"{name}: {counts(row)}" + (f"; worst: {shown}" if shown else ""))
    return (*lines, *comparison.restrictions)


def _pair(metric: str, a: float | None, b: float | None) -> str:
    return f"{wording.metric_value(metric, a)} → {wording.metric_value(metric, b)}"
