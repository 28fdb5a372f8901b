"""The table a build ends with: six tasks, what the reference and the compiled model reach, and the verdict."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bundle.base.errors import not_installed
from bundle.judging import wording
from bundle.judging.checks import behind
from bundle.judging.regression_report import BaselineResult, RegressionReport, TaskCheck, TaskResult, verdicts_of
from bundle.judging.sentences import images_of, why_verdict
from bundle.judging.standing import against, standing, summary
from bundle.judging.verdict import Verdict
from bundle.tasks.agreement import AGREEMENT
from report.bundle_page.measurements import change, cosine

if TYPE_CHECKING:
    from rich.table import Table

STYLES: dict[Verdict, str] = {
    "pass": "green",
    "regression": "bold red",
    "inconclusive": "yellow",
    "improvement": "bold magenta",
}

COLUMNS = ("task", "reference", "compiled", "drop", "95% interval", "n", "budget", "verdict")
DASH = "–"


def title(report: RegressionReport) -> str:
    """Return the table's heading: model, target, what ran where, and on how many images."""
    semantics = "on the device" if report.executed_on == "device" else "not executed on a device"
    return (
        f"{report.model} → {report.target}, {report.precision} {semantics} ({report.device.name}), {images_of(report)}"
    )


def tasks_table(report: RegressionReport) -> "Table":
    """Return one row per task, at most 80 columns wide: reference, compiled, drop (positive is worse), interval, images, budget, verdict.

    Raises:
        TargetUnavailable: rich is not installed, as on a device.
    """
    rows = [(*cells(name, result), verdict(result)) for name, result in report.tasks.items()]
    styles = [STYLES[result.verdict] for result in report.tasks.values()]
    return verdict_table(title(report), f"{counted(report)}\n\n{ending(report)}", COLUMNS, rows, styles)


def verdict_table(
    heading: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], styles: Iterable[str]
) -> "Table":
    """Return a table of tasks: names and verdicts are on the left, figures on the right; ``styles`` are of the verdicts.

    Raises:
        TargetUnavailable: rich is not installed, as on a device.
    """
    try:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text
    except ImportError as error:
        raise not_installed("the table", "rich", extra="host", where="report.terminal", error=error) from error
    table = Table(
        title=Text(heading),
        caption=Text(caption),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=0,
        pad_edge=False,
    )
    for name in columns:
        table.add_column(name, justify="left" if name in (columns[0], columns[-1]) else "right", no_wrap=True)
    for (*words, said), style in zip(rows, styles, strict=True):
        table.add_row(*(Text(word.replace(wording.UNDEFINED, DASH)) for word in words), Text(said, style=style))
    return table


def ending(report: RegressionReport) -> str:
    """Return the line under the table: Δm, and whether every task is within its budget, or which is not or is undecided."""
    verdicts = verdicts_of(report)
    earlier = ", ".join(f"{name} {row.verdict}" for name, row in behind(report).items())
    why = [] if standing(verdicts) == "within" and earlier else [summary(verdicts, accepted=report.passed)]
    why += [f"against the earlier run: {earlier}"] if earlier else []
    outcome = "; ".join(why) if report.passed else f"FAILED: {'; '.join(why)}"
    ends = "" if None in report.delta_m_interval else f" {wording.interval_of_points(report.delta_m_interval)}"
    return f"Δm {wording.points(report.delta_m)}{ends}: {outcome}"


def notes(report: RegressionReport) -> tuple[str, ...]:
    """Return what the table leaves out: what explains a verdict, the other figures, and the earlier run."""
    lines = [f"variant {report.variant}: {report.chosen}"] if report.chosen else []
    lines += [f"{name}: {why}" for name in report.tasks if (why := why_verdict(report, name))]
    for name, result in report.tasks.items():
        figures = ", ".join(
            f"{wording.metric_name(key)} {wording.metric_value(key, one.reference)} → {wording.metric_value(key, one.compiled)}"
            for key, one in result.figures.items()
        )
        lines += [f"{name}: {figures}"] if figures else []
    lines += [_agreement(name, check, report) for name, check in report.checks.items() if check.change is not None]
    if report.baseline is not None:
        lines.append(_against(report.baseline))
    return tuple(lines)


def _agreement(name: str, check: TaskCheck, report: RegressionReport) -> str:
    """Say how alike the answers are: SQNR, cosine, the change per pixel, the three images that changed most."""
    sqnr = report.tasks[name].sqnr_db
    parts = [] if sqnr is None else [f"SQNR {sqnr:.1f} dB, cosine {cosine(check.cosine)}"]
    worst = ", ".join(image.id for image in check.worst[:3])
    return f"{name}: {', '.join([*parts, change(name, check)])}" + (f"; most changed: {worst}" if worst else "")


def _against(earlier: BaselineResult) -> str:
    outcome = against({name: row.verdict for name, row in earlier.tasks.items()}, accepted=earlier.passed)
    return f"against the earlier run ({earlier.precision}, {earlier.device.name}): Δm {wording.points(earlier.delta_m)}; {outcome}"


def counted(report: RegressionReport) -> str:
    """Say which images the table counts, and which tasks are judged without labels."""
    unlabelled = [name for name, result in report.tasks.items() if result.metric == AGREEMENT]
    labels = "n: the images that have a label for the task"
    return (
        f"{labels}, or are compared\nagreement with the reference, no metric: {', '.join(unlabelled)}"
        if unlabelled
        else labels
    )


def verdict(result: TaskResult) -> str:
    """Return a verdict with its sign."""
    return f"{wording.MARKS[result.verdict]} {result.verdict}"


def cells(name: str, result: TaskResult) -> tuple[str, ...]:
    """Return a row's texts but the last, in the order of ``COLUMNS``."""
    return (
        name,
        wording.metric_value(result.metric, result.reference),
        wording.metric_value(result.metric, result.compiled),
        wording.percent(result.drop_relative),
        wording.interval(result.interval),
        str(result.labelled_images),
        wording.budget(result.budget),
    )
