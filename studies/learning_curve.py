"""The learning curve of training runs, from their metrics logs alone.

    python -m studies.learning_curve models/default/training/logs/*.jsonl --out docs/pictures/learning-curve.png

One panel per task: the metric on validation images against the step, one line per run; the last point, ringed, is that
of the stored FP16 weights on the whole split.
"""

import json
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from bundle.base.errors import InputError
from bundle.base.frozen import faults
from bundle.formats.outputs import require_file
from bundle.tasks.table import task
from compile.stage.command import run_script
from report.drawing.image_encoding import PICTURES
from studies.figure import panels, save

PANEL_INCHES = (4.0, 3.0)


class Point(NamedTuple):
    """One evaluation: the step, the metric, and whether it is that of the stored weights."""

    step: int
    value: float
    stored: bool


def read_curves(log: Path) -> dict[str, list[Point]]:
    """Return each task's evaluations in a run's ``log.jsonl``, in order.

    Raises:
        InputError: there is no such file, or no evaluation in it.
    """
    try:
        entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise InputError(
            "this is no metrics log",
            expected="one JSON object a line",
            got=faults(error),
            where=str(log),
            fix="give runs/<name>/log.jsonl",
        ) from error
    curves: dict[str, list[Point]] = {}
    for entry in entries:
        for name, value in entry.get("metrics", {}).items():
            curves.setdefault(name, []).append(Point(entry["step"], value, bool(entry.get("stored"))))
    if not curves:
        raise InputError(
            "the log holds no evaluation",
            expected='lines with "metrics"',
            got=f"{len(entries)} lines",
            where=str(log),
            fix="let the run get to its first evaluation",
        )
    return curves


def draw_curves(curves: dict[str, dict[str, list[Point]]], out: Path) -> None:
    """Draw the runs' curves, ``curves[run][task]``, into a PNG.

    Raises:
        TargetUnavailable: matplotlib is not installed.
    """
    names = list(dict.fromkeys(name for run in curves.values() for name in run))
    figure, drawn = panels(len(names), PANEL_INCHES)
    for panel, name in zip(drawn, names, strict=True):
        for number, (run, tasks) in enumerate(curves.items()):
            points = tasks.get(name, [])
            panel.plot([p.step for p in points], [p.value for p in points], ".-", color=f"C{number}", label=run)
            last = [p for p in points if p.stored]
            panel.plot([p.step for p in last], [p.value for p in last], "o", color=f"C{number}", fillstyle="none", ms=9)
        row = task(name)
        panel.set(title=f"{name}: {row.metric} ({row.direction} is better)", xlabel="step")
        panel.grid(alpha=0.3)
        panel.legend()
    save(figure, out)


def main(
    logs: Annotated[list[Path], typer.Argument(help="Metrics logs; a run is named by its file.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")],
) -> None:
    """Draw the learning curve of training runs from their metrics logs.

    Example: python -m studies.learning_curve models/default/training/logs/*.jsonl --out docs/pictures/learning-curve.png
    """
    require_file(out, PICTURES, logs)
    names = [log.parent.name if log.stem == "log" else log.stem for log in logs]
    draw_curves({name: read_curves(log) for name, log in zip(names, logs, strict=True)}, out)


if __name__ == "__main__":
    run_script(main)
