"""Two charts as inline SVG: drops against budgets, and bars. All x positions are percentages, so they fit any width.

Text stays outside the drawings, at the page's own size; colours come from the page's style by class name.
"""

import math
from html import escape

from bundle.base.frozen import Frozen
from bundle.judging.verdict import Verdict

WORST, BEST = 4.0, -2.0
"""What is beyond these, in budgets, is cut at the chart's edge and drawn as an arrow."""

MARKERS: dict[Verdict, str] = {
    "pass": "M-6,0A6,6 0 1 0 6,0A6,6 0 1 0 -6,0Z",
    "regression": "M-6,-6L6,6M6,-6L-6,6",
    "inconclusive": "M0,-7L7,6L-7,6Z",
    "improvement": "M-6,-6H6V6H-6Z",
}
"""A disc, a cross, a triangle and a square: the verdict without its colour."""


class Drop(Frozen):
    """One row of the budget chart: a drop and its interval, each in units of the task's budget (1 = all of it)."""

    label: str
    value: float
    low: float
    high: float
    verdict: Verdict


class Scale(Frozen):
    """The span of the budget chart, in budgets, and its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Return the position of ``value`` in percent of the width, cut to the chart."""
        return round(100 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low), 3)


def budget_scale(rows: tuple[Drop, ...]) -> Scale:
    """Choose the span: 0 and the budget always, every finite interval between ``BEST`` and ``WORST``, in full budgets."""
    ends = [end for row in rows for end in (row.low, row.high, row.value) if math.isfinite(end)]
    low = max(math.floor(min([-1.0, *ends])), BEST)
    high = min(math.ceil(max([2.0, *ends])), WORST)
    return Scale(low=low, high=high, ticks=tuple(float(step) for step in range(int(low), int(high) + 1)))


def _line(kind: str, start: float, end: float, top: float, bottom: float) -> str:
    return f'<line class="{kind}" x1="{start}%" x2="{end}%" y1="{top}" y2="{bottom}"/>'


def _mark(path: str, kind: str, at: float, middle: float) -> str:
    return f'<svg x="{at}%" y="{middle}" overflow="visible"><path class="{kind}" d="{path}"/></svg>'


def _end(value: float, verdict: Verdict, scale: Scale, middle: float) -> str:
    """Draw one end of an interval: a bar across it, or an arrow where it runs off the chart."""
    arrow = "M9,-6L2,0L9,6" if value < scale.low else "M-9,-6L-2,0L-9,6"
    inside = scale.low <= value <= scale.high
    return _mark("M0,-6V6" if inside else arrow, f"cap {verdict}", scale.at(value), middle)


def drop_row(row: Drop, scale: Scale, spoken: str, height: int = 32) -> str:
    """Draw one task's interval against its budget; ``spoken`` is what a screen reader reads."""
    middle, budget = height / 2, scale.at(1.0)
    parts = [
        f'<svg class="drop" role="img" aria-label="{escape(spoken)}" width="100%" height="{height}">',
        f'<rect class="beyond" x="{budget}%" y="0" width="{100 - budget}%" height="{height}"/>',
        _line("zero", scale.at(0.0), scale.at(0.0), 0, height),
        _line("budget", budget, budget, 0, height),
        _line(f"span {row.verdict}", scale.at(row.low), scale.at(row.high), middle, middle),
        _end(row.low, row.verdict, scale, middle),
        _end(row.high, row.verdict, scale, middle),
    ]
    if scale.low <= row.value <= scale.high:
        parts.append(_mark(MARKERS[row.verdict], f"mark {row.verdict}", scale.at(row.value), middle))
    return "".join([*parts, "</svg>"])


def bar(share: float, kind: str, spoken: str, height: int = 18) -> str:
    """Draw one bar, ``share`` of the width (0…1), in the class ``kind``."""
    width = round(100 * min(max(share, 0.0), 1.0), 3)
    return (
        f'<svg class="bar" role="img" aria-label="{escape(spoken)}" width="100%" height="{height}">'
        f'<rect class="track" width="100%" height="{height}" rx="3"/>'
        f'<rect class="{escape(kind)}" width="{width}%" height="{height}" rx="3"/></svg>'
    )
