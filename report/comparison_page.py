"""The page of ``tdss compare``: two results, task by task and image by image; nothing is run and no picture is drawn."""

import math
from pathlib import Path

from bundle.base.frozen import Frozen
from bundle.formats.outputs import marked, overwrite
from bundle.judging import wording
from bundle.judging.comparison import Comparison, ImageRow, TaskComparison
from bundle.judging.verdict import Verdict
from report.bundle_page.template import printed
from report.bundle_page.verdict import scale_ticks
from report.bundle_page.views import Headline, Tick
from report.comparison_table import WORDS, cells, counts, delta_m, side, verdict
from report.drawing.charts import Drop, Scale, budget_scale, drop_row

PAGES = marked(b'<meta name="generator" content="tdss compare">')  # what the page may be written over
SHOWN = 200  # images of a task; the JSON has them all
ORDER: tuple[Verdict, ...] = ("regression", "improvement", "inconclusive", "pass")


class ImageView(Frozen):
    """One image's row; ``kind`` is a verdict's class for the colour, or "none"."""

    id: str
    a: str
    b: str
    worse_by: str
    kind: str


class TaskView(Frozen):
    """One task; ``svg`` is "" where the drop is undefined."""

    name: str
    metric: tuple[str, str]
    a: str
    b: str
    drop: str
    interval: str
    images: str
    budget: str
    kind: Verdict
    verdict: str
    counts: str
    left_out: str
    svg: str
    rows: tuple[ImageView, ...]


class ComparisonPage(Frozen):
    """Everything the template prints."""

    verdict: Headline
    sides: tuple[tuple[str, str], ...]
    tasks: tuple[TaskView, ...]
    ticks: tuple[Tick, ...]
    restrictions: tuple[str, ...]


def render_comparison(comparison: Comparison, out: Path) -> Path:
    """Write the page to ``out`` and return its path.

    Raises:
        InputError: something else than such a page is at ``out``.
        TargetUnavailable: Jinja2 is not installed.
    """
    overwrite(out, printed("comparison.html.j2", describe_comparison(comparison)), PAGES)
    return out


def describe_comparison(comparison: Comparison) -> ComparisonPage:
    """Return everything the page shows."""
    drops = {name: _drop(name, row) for name, row in comparison.tasks.items()}
    scale = budget_scale(tuple(drop for drop in drops.values() if drop is not None))
    return ComparisonPage(
        verdict=_headline(comparison),
        sides=(("A", side(comparison.a)), ("B", side(comparison.b))),
        tasks=tuple(_task(name, row, drops[name], scale) for name, row in comparison.tasks.items()),
        ticks=scale_ticks(scale),
        restrictions=comparison.restrictions,
    )


def _headline(comparison: Comparison) -> Headline:
    by = {kind: [name for name, row in comparison.tasks.items() if row.verdict == kind] for kind in ORDER}
    kind = next(kind for kind in ORDER if by[kind])
    said = "; ".join(f"{WORDS[one]}: {', '.join(names)}" for one, names in by.items() if names)
    headline = (
        "B is alike on every task"
        if kind == "pass"
        else f"B is {WORDS[kind]} on {len(by[kind])} of {len(comparison.tasks)} tasks"
    )
    sentences = (
        f"{said[0].upper()}{said[1:]}.",
        f"{delta_m(comparison)}: the mean relative change, positive is better.",
    )
    return Headline(kind=kind, mark=wording.MARKS[kind], headline=headline, sentences=sentences)


def _drop(name: str, row: TaskComparison) -> Drop | None:
    """Return a task's drop in units of its budget, None where it is undefined; a budget of 0 counts as a millionth."""
    if row.drop_relative is None or row.interval[0] is None or row.interval[1] is None:
        return None
    value, low, high = (end / max(row.budget, 1e-6) for end in (row.drop_relative, row.interval[0], row.interval[1]))
    return Drop(label=name, value=value, low=low, high=high, verdict=row.verdict)


def _task(name: str, row: TaskComparison, drop: Drop | None, scale: Scale) -> TaskView:
    _, a, b, fall, ends, images, budget = cells(name, row)
    spoken = f"{name}: drop {fall}, interval {ends}, budget {budget}, B is {WORDS[row.verdict]}"
    return TaskView(
        name=name,
        metric=(wording.metric_name(row.metric), f"{row.direction} is better"),
        a=a,
        b=b,
        drop=fall,
        interval=ends,
        images=images,
        budget=budget,
        kind=row.verdict,
        verdict=verdict(row),
        counts=counts(row),
        left_out=f"The first {SHOWN} of {len(row.images)}; tdss compare --json has all."
        if len(row.images) > SHOWN
        else "",
        svg="" if drop is None else drop_row(drop, scale, spoken),
        rows=tuple(_image(row.metric, image) for image in row.images[:SHOWN]),
    )


def _image(metric: str, row: ImageRow) -> ImageView:
    worse = math.nan if row.worse_by is None else row.worse_by
    value = wording.metric_value(metric, row.worse_by)
    return ImageView(
        id=row.id,
        a=wording.metric_value(metric, row.a),
        b=wording.metric_value(metric, row.b),
        worse_by=f"+{value}" if worse > 0 else value,
        kind="none" if worse == 0 else "improvement" if worse < 0 else "regression",
    )
