"""The picture of ``tdss bench``: a panel of bars for each model, and one of lines for the number of tasks."""

from pathlib import Path
from typing import TYPE_CHECKING

from studies.comparison.tables import OURS, Comparison, Row
from studies.figure import panels, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (6.4, 4.4)
COLOURS = {True: "#2a7f62", False: "#9aa5b1"}


def draw(found: Comparison, out: Path) -> None:
    """Draw medians with p10 and p90 as a PNG.

    Raises:
        InputError: something else than such a picture is at ``out``, or the system refuses to write.
        TargetUnavailable: matplotlib is not installed.
    """
    groups = [name for name in found.groups if any(row.latency for row in found.group(name))]
    if not groups:
        return
    figure, axes = panels(len(groups), INCHES)
    for panel, name in zip(axes, groups, strict=True):
        rows = [row for row in found.group(name) if row.latency is not None]
        _lines(panel, rows) if len({row.model for row in rows}) > 1 else _bars(panel, rows)
        panel.set_title(name, fontsize=9)
    figure.suptitle(f"{found.machine}, {found.threads} threads", fontsize=9)
    save(figure, out)


def _bars(panel: "Axes", rows: list[Row]) -> None:
    """Draw a bar for each row, the first one on top."""
    heights = range(len(rows), 0, -1)
    times = [row.latency for row in rows if row.latency is not None]
    middles = [time.p50_ms for time in times]
    spread = [
        [max(0.0, one.p50_ms - (one.p10_ms or one.p50_ms)) for one in times],
        [max(0.0, one.p90_ms - one.p50_ms) for one in times],
    ]
    panel.barh(
        list(heights), middles, xerr=spread, color=[COLOURS[row.name.startswith(OURS)] for row in rows], height=0.7
    )
    panel.set_yticks(list(heights), [row.label for row in rows], fontsize=7)
    panel.set_xlabel("ms, median; p10 … p90", fontsize=8)
    for height, middle in zip(heights, middles, strict=True):
        panel.annotate(f" {middle:.1f}", (middle, height), fontsize=6, va="bottom")


def _lines(panel: "Axes", rows: list[Row]) -> None:
    """Draw milliseconds over the number of tasks, a line for each way to run and image size."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        size, _, tasks = row.model.partition(",")
        if row.latency is not None:
            lines.setdefault(f"{row.label}, {size}", []).append((int(tasks.split()[0]), row.latency.p50_ms))
    for label, points in lines.items():
        panel.plot(*zip(*sorted(points), strict=True), marker="o", markersize=3, label=label)
    panel.set_xlabel("tasks", fontsize=8)
    panel.set_ylabel("ms, median", fontsize=8)
    panel.legend(fontsize=6)
