"""How each device fared: one row a device, from its results or from the reason why there are none."""

from typing import Literal, TypeAlias

from pydantic import Field

from bundle.base.frozen import Frozen
from bundle.judging import wording
from bundle.judging.checks import disagreeing
from bundle.judging.regression_report import RegressionReport, VariantRow, verdicts_of
from bundle.judging.standing import Standing, label, standing, summary
from bundle.judging.verdict import Verdict
from report.results_page import Result

Lack: TypeAlias = Literal["away", "full", "wrong", "killed", "late", "busy"]
"""Why a device gave no result.

``away``: no connection. ``full``: no space. ``wrong``: a host key, a login, Python, a package, the target or what came
back. ``killed``: it ended in the middle. ``late``: its time was over. ``busy``: another run is going on there.
"""


class Lacking(Exception):
    """A device gives no result; ``reason`` is a sentence for its row."""

    def __init__(self, lack: Lack, reason: str) -> None:
        super().__init__(reason)
        self.lack = lack
        self.reason = reason


class Cell(Frozen):
    """One variant on one device: its median, what its verdicts sum up to, or why it was not judged."""

    latency_ms: float | None
    standing: Standing | None
    reason: str


class Row(Frozen):
    """One device: what it gave, or ``lack`` and why.

    ``good``: every task of the chosen variant is within its budget, or is undecided where that is allowed, and answers as
    the reference does. ``earlier``: the result was here already. ``latency_ms`` is the chosen variant's median.
    """

    device: str
    host: str
    target: str
    lack: Lack | None = None
    standing: Standing | None = None
    reason: str = ""
    good: bool = False
    earlier: bool = False
    hardware: str = ""
    executed_on: str = ""
    chosen: str = ""
    latency_ms: float | None = None
    verdicts: dict[str, Verdict] = Field(default_factory=dict)
    variants: dict[str, Cell] = Field(default_factory=dict)
    results: str = ""


def judged(name: str, host: str, result: Result, *, earlier: bool) -> Row:
    """Return the row of a device that sent its results."""
    report, verdicts = result.report, verdicts_of(result.report)
    unlike = disagreeing(report)
    return Row(
        device=name,
        host=host,
        target=report.target,
        standing=standing(verdicts),
        reason=f"answers unlike the reference's: {unlike[0].text}" if unlike else _sum(report),
        good=report.passed and not unlike,
        earlier=earlier,
        hardware=report.device.name,
        executed_on=report.executed_on,
        chosen=report.variant or report.precision,
        latency_ms=result.latency_ms,
        verdicts=verdicts,
        variants={row.name: _cell(row) for row in report.variants},
        results=result.source,
    )


def lacking(name: str, host: str, target: str, error: Lacking) -> Row:
    """Return the row of a device that gave no result."""
    return Row(device=name, host=host, target=target, lack=error.lack, reason=error.reason)


def _sum(report: RegressionReport) -> str:
    verdicts = verdicts_of(report)
    others = ", ".join(f"{task} {verdict}" for task, verdict in verdicts.items() if verdict != "pass")
    said = summary(verdicts, accepted=report.passed)
    return f"{said}: {others}" if others and not report.passed else said


def _cell(row: VariantRow) -> Cell:
    seen = {name: task.verdict for name, task in row.tasks.items()}
    return Cell(latency_ms=row.median_ms, standing=standing(seen) if seen else None, reason=row.reason)


def outcome(row: Row) -> str:
    """Say in a few words how a device fared."""
    if row.lack is not None:
        return row.lack
    if row.standing == "within" and not row.good:
        return "answers unlike the reference's"
    return label(row.verdicts, accepted=row.good)


def cell_text(row: Row, variant: str) -> str:
    """Say how fast a variant is on a device and how it stands: ``12.3 ms ✓``; the chosen one is named."""
    one = row.variants.get(variant)
    if one is None:
        return "–"
    time = "not timed" if one.latency_ms is None else f"{one.latency_ms:.1f} ms"
    marks = {
        "within": wording.MARKS["pass"],
        "undecided": wording.MARKS["inconclusive"],
        "beyond": wording.MARKS["regression"],
    }
    stands = "not judged" if one.standing is None else marks[one.standing]
    return f"{time} {stands}" + (", chosen" if variant == row.chosen else "")


def ran_on(row: Row) -> str:
    """Say what executed the graph, and whether that was the device itself."""
    return (
        f"{row.hardware}, {'on the device' if row.executed_on == 'device' else row.executed_on}" if row.hardware else ""
    )
