"""From regression.json to the page: the headline, the task table and the budget chart."""

import math

from bundle.formats.manifest import Manifest
from bundle.judging import wording
from bundle.judging.checks import behind
from bundle.judging.regression_report import RegressionReport, TaskResult, verdicts_of
from bundle.judging.standing import allowed
from bundle.judging.verdict import Verdict
from report.bundle_page.views import Headline, TaskRow, Tick
from report.drawing.charts import Drop, Scale, budget_scale, drop_row

UNJUDGED = "This bundle has no regression.json: nothing was measured with it yet."


def headline(report: RegressionReport | None) -> Headline:
    """Say in one line whether the compiled model is proven not worse, and in a few more why."""
    if report is None:
        return Headline(kind="none", mark="–", headline="Not judged", sentences=(UNJUDGED,))
    kind = _kind(report)
    words = {
        "pass": "Pass",
        "regression": "Regression",
        "inconclusive": "Inconclusive",
        "improvement": "Unexplained improvement",
    }
    return Headline(kind=kind, mark=wording.MARKS[kind], headline=words[kind], sentences=_sentences(report, kind))


def _kind(report: RegressionReport) -> Verdict:
    verdicts = {result.verdict for result in report.tasks.values()} | {row.verdict for row in behind(report).values()}
    if "regression" in verdicts:
        return "regression"
    if "improvement" in verdicts:
        return "improvement"
    return "inconclusive" if "inconclusive" in verdicts or not report.passed else "pass"


def _sentences(report: RegressionReport, kind: Verdict) -> tuple[str, ...]:
    images = wording.plural(report.images, "image")
    if kind == "pass":
        first = f"On {images}, each of {wording.plural(len(report.tasks), 'task')} stays within its budget at 95% confidence, each verdict for itself."
    else:
        by = {name: [task for task, result in report.tasks.items() if result.verdict == name] for name in wording.MARKS}
        earlier = ", ".join(f"{task} {row.verdict}" for task, row in behind(report).items())
        parts = [
            f"beyond budget: {', '.join(by['regression'])}" if by["regression"] else "",
            _undecided(by["inconclusive"], report),
            f"better by more than the budget: {', '.join(by['improvement'])}" if by["improvement"] else "",
            f"against the earlier run: {earlier}" if earlier else "",
        ]
        parts_text = "; ".join(part for part in parts if part) or "it did not pass, and no task explains it"
        first = f"On {images}; {parts_text}."
    return first, _closest(report)


def _undecided(names: list[str], report: RegressionReport) -> str:
    if not names:
        return ""
    return allowed(verdicts_of(report)) if report.passed else f"undecided by these images: {', '.join(names)}"


def _closest(report: RegressionReport) -> str:
    used = {name: _budgets(result, result.interval[1]) for name, result in report.tasks.items()}
    known = {name: share for name, share in used.items() if not math.isnan(share)}
    undefined = [name for name in used if name not in known]
    words = f"The drop of {', '.join(undefined)} is undefined." if undefined else ""
    if not known:
        return words
    worst = report.tasks[name := max(known, key=known.__getitem__)]
    allowed = f"up to {wording.percent(worst.interval[1])} where {wording.budget(worst.budget)} is allowed"
    return f"The largest drop against its budget: {name}, {allowed}. {words}".strip()


def _budgets(result: TaskResult, drop: float | None) -> float:
    """Return a drop in units of the task's budget; NaN if undefined. A budget of 0 counts as a millionth."""
    return math.nan if drop is None else drop / max(result.budget, 1e-6)


def banner(report: RegressionReport | None, manifest: Manifest) -> str:
    """Return what the page shows where nothing ran on the device itself, "" where it did."""
    if report is not None and report.executed_on == "emulation":
        return (
            f"The figures below come from an emulation of {report.precision} ({report.device.name}). They say how the "
            f"numbers round, exactly per operator and not for the device's accumulators, and not how the device runs "
            f"({report.target}): run tests/regression there to know."
        )
    if report is None and manifest.engine.status == "deferred":
        return f"The engine is built on the device: {manifest.engine.reason}"
    return ""


def delta_m(report: RegressionReport | None) -> str:
    """Return the sentence about Δm, or ""."""
    if report is None:
        return ""
    ends = "" if None in report.delta_m_interval else f" {wording.interval_of_points(report.delta_m_interval)}"
    return f"Δm {wording.points(report.delta_m)}{ends} (the mean relative change over the tasks; positive is better)."


def task_rows(report: RegressionReport) -> tuple[TaskRow, ...]:
    """Return one row per task, each with its drawing."""
    drops = {name: drop(name, result) for name, result in report.tasks.items()}
    scale = budget_scale(tuple(value for value in drops.values() if value is not None))
    return tuple(_row(name, result, drops[name], scale) for name, result in report.tasks.items())


def ticks(report: RegressionReport) -> tuple[Tick, ...]:
    """Return the labels of the budget chart's axis."""
    drops = tuple(value for name, result in report.tasks.items() if (value := drop(name, result)) is not None)
    return scale_ticks(budget_scale(drops))


def scale_ticks(scale: Scale) -> tuple[Tick, ...]:
    """Return the labels of a scale's ticks: its zero and the budget by name, the others in budgets."""
    names = {0.0: "no drop", 1.0: "budget"}
    edges = {scale.ticks[0]: "first", scale.ticks[-1]: "last"}
    return tuple(
        Tick(
            at=scale.at(value),
            text=names.get(value, f"{value:g}×".replace("-", wording.MINUS)),
            edge=edges.get(value, ""),
        )
        for value in scale.ticks
    )


def drop(name: str, result: TaskResult) -> Drop | None:
    """Return a task's drop in units of its budget, None where it is undefined."""
    values = [_budgets(result, end) for end in (result.drop_relative, *result.interval)]
    if any(map(math.isnan, values)):
        return None
    return Drop(label=name, value=values[0], low=values[1], high=values[2], verdict=result.verdict)


def _row(name: str, result: TaskResult, drawn: Drop | None, scale: Scale) -> TaskRow:
    fall, ends = wording.percent(result.drop_relative), wording.interval(result.interval)
    limit = wording.budget(result.budget)
    counted = str(result.labelled_images)
    spoken = (
        f"{name}: drop {fall}, interval {ends}, {counted} labelled images, budget {limit}, verdict {result.verdict}"
    )
    return TaskRow(
        name=name,
        metric=(
            wording.metric_name(result.metric),
            "higher is better" if result.direction == "higher" else "lower is better",
        ),
        reference=wording.metric_value(result.metric, result.reference),
        compiled=wording.metric_value(result.metric, result.compiled),
        drop=fall,
        interval=ends,
        images=counted,
        budget=limit,
        sqnr=_sqnr(result),
        verdict=result.verdict,
        mark=wording.MARKS[result.verdict],
        svg="" if drawn is None else drop_row(drawn, scale, spoken),
    )


def _sqnr(result: TaskResult) -> str:
    if result.sqnr_db is not None:
        return f"{result.sqnr_db:.1f} dB"
    return wording.UNDEFINED if result.compiled is None else "no difference"
