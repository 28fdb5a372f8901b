"""The questions of a report: asked of each task, answered in a sentence, skipped with a reason."""

import pytest

from bundle.base.errors import RegressionFailed
from bundle.judging.baseline import BaselineResult
from bundle.judging.checks import QUESTIONS, answer, answers, behind, require_agreement, require_passed
from bundle.judging.regression_report import RegressionReport, TaskCheck, VariantTask, WorstImage
from bundle.tasks.table import TASKS, Task
from tests.report import made


def report(**changes: object) -> RegressionReport:
    checks = {row.name: TaskCheck(nonfinite_images=0, agreement=0.99) for row in TASKS}
    return RegressionReport.model_validate({**made.regression(), "checks": checks, **changes})


def test_every_task_is_asked_every_question() -> None:
    rows = answers(report(), allow_inconclusive=False)
    assert [(row.task, row.question) for row in rows] == [(row.name, q) for row in TASKS for q in QUESTIONS]
    assert all(row.passed and row.text == "" for row in rows)
    assert {row.skipped for row in rows if row.question == "baseline"} == {"no --baseline given"}


@pytest.mark.parametrize("allowed", [False, True])
def test_an_inconclusive_budget_passes_only_where_allowed(allowed: bool) -> None:
    failing = RegressionReport.model_validate(made.failing())
    row = answer(failing, "depth", "budget", allow_inconclusive=allowed)
    assert row.passed == allowed and ("inconclusive" in row.text) != allowed
    assert not answer(failing, "normals", "budget", allow_inconclusive=True).passed


@pytest.mark.parametrize("row", TASKS, ids=lambda row: row.name)
def test_answers_that_do_not_resemble_the_references_fail_and_name_the_worst_images(row: Task) -> None:
    name, low = row.name, row.kind.agreement_floor - 0.01
    checks = {one.name: TaskCheck(nonfinite_images=0, agreement=0.99) for one in TASKS}
    checks[name] = TaskCheck(nonfinite_images=0, agreement=low, worst=(WorstImage(id="room-7", change=0.5),))
    wrong = report(checks=checks)
    found = answer(wrong, name, "agreement", allow_inconclusive=False)
    assert not found.passed and "room-7" in found.text and f"{low:.3f}" in found.text
    with pytest.raises(RegressionFailed, match="does not answer as its reference"):
        require_agreement(wrong)


def test_without_the_references_answers_agreement_is_not_asked() -> None:
    checks = {row.name: TaskCheck(nonfinite_images=0, agreement=None) for row in TASKS}
    found = answer(report(checks=checks), "edge", "agreement", allow_inconclusive=False)
    assert found.passed and found.skipped
    require_agreement(report(checks=checks))


def test_the_earlier_run_is_asked_about_and_can_fail_the_report() -> None:
    row = VariantTask(
        reference=0.5,
        compiled=0.4,
        drop_relative=0.2,
        interval=(0.15, 0.25),
        budget=0.01,
        verdict="regression",
        labelled_images=5,
    )
    good = row.model_copy(update={"verdict": "pass"})
    earlier = BaselineResult(
        model="made",
        target="intel",
        device={"name": "x", "isa": ()},
        precision="f32",
        executed_on="device",
        tasks={one.name: row if one.name == "edge" else good for one in TASKS},
        delta_m=-1.0,
        passed=False,
    )
    worse = report(baseline=earlier, passed=False)
    found = answer(worse, "edge", "baseline", allow_inconclusive=True)
    assert not found.passed and found.text.startswith("against the earlier run: edge: ODS F 0.5000 → 0.4000")
    assert answer(worse, "depth", "baseline", allow_inconclusive=False).passed
    with pytest.raises(RegressionFailed, match="is within its budgets, but not against the earlier run") as caught:
        require_passed(worse)
    assert caught.value.got.startswith("against the earlier run: edge: ODS F") and list(behind(worse)) == ["edge"]
    assert behind(report()) == {}


def test_nan_is_said_with_its_images() -> None:
    checks = {row.name: TaskCheck(nonfinite_images=2, agreement=0.99) for row in TASKS}
    found = answer(report(checks=checks), "edge", "finite", allow_inconclusive=False)
    assert not found.passed and "NaN or infinity on 2 images, hard ones counted" in found.text
