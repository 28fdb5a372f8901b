"""The checks of a report, one per task and question: what pytest asserts, JUnit lists and ``tdss regress`` ends with.

``budget`` is the gate of docs/decisions/0103. ``finite`` asks for no NaN or infinity on any image. ``agreement`` asks
if the answers resemble the reference's pixel by pixel: errors that cancel in a metric do not. ``baseline`` asks if
they are not worse than an earlier run, where one was given.
"""

from typing import Literal, TypeAlias

from bundle.base.errors import RegressionFailed
from bundle.base.frozen import Frozen
from bundle.judging import wording
from bundle.judging.regression_report import RegressionReport, TaskCheck, TaskResult, VariantTask
from bundle.judging.sentences import images_of, why_verdict
from bundle.judging.verdict import accepted
from bundle.tasks.agreement import AGREEMENT
from bundle.tasks.table import task

Question: TypeAlias = Literal["budget", "finite", "agreement", "baseline"]
QUESTIONS: tuple[Question, ...] = ("budget", "finite", "agreement", "baseline")


class Check(Frozen):
    """One answer; ``text`` says why it failed, ``skipped`` why it was not asked (it is "" if it was)."""

    task: str
    question: Question
    passed: bool
    text: str
    skipped: str = ""


def answer(report: RegressionReport, name: str, question: Question, *, allow_inconclusive: bool) -> Check:
    """Answer one question about one task."""
    result, seen = report.tasks[name], report.checks.get(name, TaskCheck(nonfinite_images=0, agreement=None))
    passing = accepted(allow_inconclusive=allow_inconclusive)
    passed, text, skipped = True, "", ""
    if question == "budget":
        passed, text = result.verdict in passing, task_sentence(report, name)
    elif question == "finite":
        bad = seen.nonfinite_images
        passed, text = bad == 0, f"{name} holds NaN or infinity on {bad} image{'s' * (bad != 1)}, hard ones counted"
    elif question == "agreement":
        floor = task(name).kind.agreement_floor
        skipped = "" if seen.agreement is not None else "the reference's answers are not at hand for these images"
        passed, text = seen.agreement is None or seen.agreement >= floor, _disagreement(name, seen, floor)
    elif report.baseline is None:
        skipped = "no --baseline given"
    else:
        row = report.baseline.tasks[name]
        passed, text = row.verdict in passing, f"against the earlier run: {sentence(name, _as_result(result, row))}"
    return Check(task=name, question=question, passed=passed, text="" if passed else text, skipped=skipped)


def answers(report: RegressionReport, *, allow_inconclusive: bool) -> tuple[Check, ...]:
    """Answer every question about every task."""
    return tuple(
        answer(report, name, question, allow_inconclusive=allow_inconclusive)
        for name in report.tasks
        for question in QUESTIONS
    )


def _disagreement(name: str, seen: TaskCheck, floor: float) -> str:
    worst = ", ".join(image.id for image in seen.worst)
    return (
        f"{name}: the answers agree with the reference's to {_number(seen.agreement)}, expected {floor} at least: outputs swapped, "
        f"an image flipped, an activation forgotten? Worst images: {worst or 'none compared'}"
    )


def _as_result(result: TaskResult, row: VariantTask) -> TaskResult:
    kept = ("reference", "compiled", "drop_relative", "interval", "budget", "verdict", "labelled_images")
    return result.model_copy(update={name: getattr(row, name) for name in kept})


def task_sentence(report: RegressionReport, name: str) -> str:
    """Say how a task fared, and what explains its verdict."""
    cause = why_verdict(report, name)
    return sentence(name, report.tasks[name]) + (f" ({cause})" if cause else "")


def sentence(name: str, result: TaskResult) -> str:
    """Say how a task fared, in one line for people."""
    reference, compiled = (wording.metric_value(result.metric, one) for one in (result.reference, result.compiled))
    values = f"{wording.metric_name(result.metric)} {reference} → {compiled}"
    drop = f"drop {wording.percent(result.drop_relative)} {wording.interval(result.interval)}"
    counted = wording.plural(result.labelled_images, "image" if result.metric == AGREEMENT else "labelled image")
    return f"{name}: {values}, {drop}, budget {wording.budget(result.budget)}, {counted}: {result.verdict}"


def _number(value: float | None) -> str:
    return wording.UNDEFINED if value is None else f"{value:.3f}"


def behind(report: RegressionReport) -> dict[str, VariantTask]:
    """Return the tasks that fail against the earlier run, with how they fare there; none where there is none or it passed."""
    if report.baseline is None or report.baseline.passed:
        return {}
    return {name: row for name, row in report.baseline.tasks.items() if row.verdict != "pass"}


def require_passed(report: RegressionReport) -> None:
    """Do nothing if the report passed.

    Raises:
        RegressionFailed: naming every task that did not pass, its drop, interval and budget.
    """
    if report.passed:
        return
    failed = [task_sentence(report, name) for name, row in report.tasks.items() if row.verdict != "pass"]
    within = not failed
    failed += [
        f"against the earlier run: {sentence(name, _as_result(report.tasks[name], row))}"
        for name, row in behind(report).items()
    ]
    outcome = (
        "is within its budgets, but not against the earlier run" if within else "is not shown to be within its budgets"
    )
    raise RegressionFailed(
        f"{report.model} for {report.target} {outcome}",
        expected="verdict pass on every task",
        got="; ".join(failed),
        where=f"{report.precision}, {report.executed_on}, {images_of(report)}",
        fix=_fix(report),
    )


def _fix(report: RegressionReport) -> str:
    """Say what helps: the reference on these images or more of them where the verdicts are only inconclusive."""
    undecided = {name: row for name, row in report.tasks.items() if row.verdict == "inconclusive"}
    if not undecided or any(row.verdict not in ("pass", "inconclusive") for row in report.tasks.values()):
        return "keep the costly layers in float, or ship another variant"
    helps: dict[str, list[str]] = {}
    for name, row in undecided.items():
        helps.setdefault(_help(row), []).append(name)
    return "; ".join(f"{', '.join(names)}: {what}" for what, names in helps.items())


def _help(row: TaskResult) -> str:
    by_agreement = row.metric == AGREEMENT
    if row.cause == "no_reference":
        return (
            "leave --data out"
            if by_agreement
            else "tdss evaluate CHECKPOINT --data DIR --arrays FILE, then --reference FILE"
        )
    if by_agreement:
        return "add images to the split that judges, and build again"
    return "add labelled images: the verdict is inconclusive on those that are here"


def disagreeing(report: RegressionReport) -> tuple[Check, ...]:
    """Return the failed check of every task whose answers do not resemble the reference's, whatever its metric is."""
    asked = [answer(report, name, "agreement", allow_inconclusive=True) for name in report.tasks]
    return tuple(check for check in asked if not check.passed)


def require_agreement(report: RegressionReport) -> None:
    """Do nothing if every task's answers resemble the reference's, whatever its metric is.

    Raises:
        RegressionFailed: naming every task that does not.
    """
    failed = [check.text for check in disagreeing(report)]
    if failed:
        raise RegressionFailed(
            f"{report.model} for {report.target} does not answer as its reference does",
            expected="the same answers, roughly",
            got="; ".join(failed),
            where=f"{report.precision}, {report.executed_on}, {images_of(report)}",
            fix="look at the worst images (tdss report); check the order of outputs and the preprocessing",
        )
