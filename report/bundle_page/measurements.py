"""From regression.json to the page: the figures beside the verdicts, direct agreement, the earlier run."""

from bundle.judging import wording
from bundle.judging.regression_report import BaselineResult, RegressionReport, TaskCheck
from bundle.judging.sentences import why_verdict
from bundle.judging.standing import against as compared
from bundle.tasks.table import task
from report.bundle_page.views import AgreementRow, FigureRow, MeasuredView


def measured_view(report: RegressionReport | None) -> MeasuredView:
    """Return everything the page shows of a judgement besides its verdicts."""
    if report is None:
        return MeasuredView()
    return MeasuredView(
        reasons=tuple(f"{name}: {why}." for name in report.tasks if (why := why_verdict(report, name))),
        figures=figure_rows(report),
        agreement=tuple(_agreement(name, check, report) for name, check in report.checks.items()),
        baseline="" if report.baseline is None else against(report.baseline),
        source=f"{wording.plural(report.images, 'image')} of {report.source}; {report.gate} verdict rule.",
    )


def figure_rows(report: RegressionReport) -> tuple[FigureRow, ...]:
    """Return one row per figure that is reported and decides no verdict."""
    return tuple(
        FigureRow(
            task=name,
            name=wording.metric_name(key),
            reference=wording.metric_value(key, one.reference),
            compiled=wording.metric_value(key, one.compiled),
            drop=wording.percent(one.drop_relative),
            interval=wording.interval(one.interval),
        )
        for name, result in report.tasks.items()
        for key, one in result.figures.items()
    )


def _agreement(name: str, check: TaskCheck, report: RegressionReport) -> AgreementRow:
    sqnr = report.tasks[name].sqnr_db
    return AgreementRow(
        task=name,
        sqnr="–" if sqnr is None else f"{sqnr:.1f} dB",
        cosine=cosine(check.cosine),
        change=change(name, check),
        worst=", ".join(image.id for image in check.worst) or "–",
    )


def cosine(value: float | None) -> str:
    """Write a cosine; close to 1 what is missing to it shows more than a row of nines."""
    if value is None:
        return "–"
    missing = max(1.0 - value, 0.0)
    return f"{value:.4f}" if missing > 1e-3 else f"1 − {missing:.0e}".replace("e-", "e−") if missing else "1"


def change(name: str, check: TaskCheck) -> str:
    """Write the mean change per pixel as the task's kind does."""
    factor, words = task(name).kind.change_words
    return "–" if check.change is None else f"{factor * check.change:.3g}{words}"


def against(earlier: BaselineResult) -> str:
    """Say how the run compares with an earlier one."""
    worse = [
        f"{name} {row.verdict} ({wording.percent(row.drop_relative)}, {wording.interval(row.interval)})"
        for name, row in earlier.tasks.items()
        if row.verdict != "pass"
    ]
    verdicts = {name: row.verdict for name, row in earlier.tasks.items()}
    outcome = "; ".join(worse) if worse and not earlier.passed else compared(verdicts, accepted=earlier.passed)
    return (
        f"Against the earlier run of {earlier.model} ({earlier.precision}, {earlier.device.name}), image by image: "
        f"Δm {wording.points(earlier.delta_m)}; {outcome}."
    )
