from typing import Any

import pytest

from bundle.judging.regression_report import RegressionReport
from report.bundle_page import verdict as judged
from report.terminal import ending
from tests.report import made


def report(values: dict[str, Any]) -> RegressionReport:
    return RegressionReport.model_validate(values)


def with_verdicts(passed: bool, **verdicts: str) -> RegressionReport:
    values: dict[str, Any] = made.regression(passed=passed)
    tasks = {name: {**row, "verdict": verdicts.get(name, "pass")} for name, row in values["tasks"].items()}
    return report({**values, "tasks": tasks})


@pytest.mark.parametrize(
    ("verdicts", "passed", "kind"),
    [
        ({}, True, "pass"),
        ({"depth": "inconclusive"}, False, "inconclusive"),
        ({"depth": "inconclusive"}, True, "inconclusive"),
        ({"depth": "inconclusive", "edge": "regression"}, False, "regression"),
        ({}, False, "inconclusive"),
        ({"depth": "inconclusive", "edge": "improvement"}, False, "improvement"),
    ],
)
def test_the_headline_is_the_worst_verdict(verdicts: dict[str, str], passed: bool, kind: str) -> None:
    assert judged.headline(with_verdicts(passed, **verdicts)).kind == kind


def test_the_headline_names_the_tasks() -> None:
    first, second = judged.headline(report(made.failing())).sentences
    assert first == "On 5 images; beyond budget: normals, edge; undecided by these images: depth."
    expected = "The largest drop against its budget: normals, up to +12.0% where 1% is allowed."
    assert second == f"{expected} The drop of edge is undefined."


def test_an_allowed_inconclusive_says_so() -> None:
    both = with_verdicts(True, saliency="inconclusive", edge="inconclusive")
    told = "2 tasks undecided, allowed by --allow-inconclusive: saliency, edge"
    assert judged.headline(both).sentences[0] == f"On 5 images; {told}." and ending(both) == f"Δm −0.20%: {told}"
    refused = with_verdicts(False, depth="inconclusive")
    assert ending(refused) == "Δm −0.20%: FAILED: not every task is within its budget"
    assert "allowed" not in judged.headline(refused).sentences[0]


def test_without_a_report_nothing_is_claimed() -> None:
    unjudged = judged.headline(None)
    assert (unjudged.kind, unjudged.headline) == ("none", "Not judged")


def test_the_banner_shows_where_no_device_ran() -> None:
    manifest = made.manifest({})
    assert judged.banner(report(made.regression()), manifest) == ""
    assert "emulation of int8" in judged.banner(report(made.regression(executed_on="emulation")), manifest)
    deferred = made.manifest({}, engine={"status": "deferred", "reason": "TensorRT is not here"})
    assert judged.banner(None, deferred).endswith("TensorRT is not here")


def test_a_row_says_what_the_file_says() -> None:
    rows = {row.name: row for row in judged.task_rows(report(made.failing()))}
    normals, edge = rows["normals"], rows["edge"]
    assert list(rows) == list(made.CHANNELS)
    assert (normals.reference, normals.compiled, normals.drop) == ("18.200°", "20.000°", "+9.89%")
    assert (normals.interval, normals.budget, normals.sqnr) == ("[+8.00%, +12.0%]", "1%", "12.0 dB")
    assert (normals.metric[1], normals.mark, normals.verdict) == ("lower is better", "✗", "regression")
    assert (edge.compiled, edge.drop, edge.sqnr, edge.svg) == ("undefined", "undefined", "undefined", "")
    assert "drop +9.89%, interval [+8.00%, +12.0%], 5 labelled images, budget 1%, verdict regression" in normals.svg


def test_an_equal_output_has_no_noise_to_compare_with() -> None:
    values: dict[str, Any] = made.regression()
    values["tasks"]["depth"] = made.task("rmse_m", "lower", 0.4, 0.4, (0.0, 0.0), "pass", None)
    rows = {row.name: row for row in judged.task_rows(report(values))}
    assert (rows["depth"].sqnr, rows["depth"].drop) == ("no difference", "0.00%")


def test_a_drop_is_in_units_of_the_budget() -> None:
    drawn = judged.drop("depth", report(made.failing()).tasks["depth"])
    assert drawn is not None
    assert (drawn.low, drawn.value, drawn.high) == pytest.approx((-0.4, 0.25, 1.3))


def test_a_budget_of_nothing_does_not_divide() -> None:
    values: dict[str, Any] = made.regression()
    values["tasks"]["depth"]["budget"] = 0.0
    drawn = judged.drop("depth", report(values).tasks["depth"])
    assert drawn is not None and drawn.low > 1


def test_the_axis_names_no_drop_and_the_budget() -> None:
    ticks = judged.ticks(report(made.failing()))
    assert [tick.text for tick in ticks] == ["−1×", "no drop", "budget", "2×", "3×", "4×"]
    assert [tick.edge for tick in ticks] == ["first", "", "", "", "", "last"]
    assert [tick.at for tick in ticks] == sorted(tick.at for tick in ticks)


@pytest.mark.parametrize(
    ("verdict", "kind", "headline"),
    [("regression", "regression", "Regression"), ("inconclusive", "inconclusive", "Inconclusive")],
)
def test_a_failure_against_the_earlier_run_alone_is_named(verdict: str, kind: str, headline: str) -> None:
    values = made.regression(passed=False)
    kept = ("reference", "compiled", "drop_relative", "interval", "budget", "verdict", "sqnr_db", "labelled_images")
    tasks: dict[str, Any] = values["tasks"]  # type: ignore[assignment]
    standing = {name: {key: row[key] for key in kept} for name, row in tasks.items()}
    standing["depth"]["verdict"] = verdict
    earlier = {
        "model": "older",
        "target": "intel",
        "device": {"name": "x", "isa": []},
        "precision": "f32",
        "executed_on": "device",
        "tasks": standing,
        "delta_m": -3.2,
        "passed": False,
    }
    failed = report({**values, "baseline": earlier})
    head = judged.headline(failed)
    assert (head.kind, head.headline) == (kind, headline)
    assert head.sentences[0] == f"On 5 images; against the earlier run: depth {verdict}."
    assert ending(failed).endswith(f"FAILED: against the earlier run: depth {verdict}")


def test_a_failure_that_no_task_explains_is_said_to_be_one() -> None:
    assert judged.headline(with_verdicts(False)).sentences[0].startswith("On 5 images; it did not pass, and no task")
