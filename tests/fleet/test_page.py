"""The table and the page of made rows: what is beyond, undecided or lacking is never called good."""

from pathlib import Path

import pytest

from bundle.base.errors import RegressionFailed, TargetUnavailable
from bundle.judging.verdict import Verdict
from fleet.page import markdown, require_good, write_page
from fleet.parcel import parcel
from fleet.rows import Lacking, Row, judged, lacking
from report.results_page import Result, read_result
from tests.bundle.made_onnx import make
from tests.report import browser, made
from tests.report.bundle_page.test_page import Reader
from tests.report.test_results_page import write

AWAY = lacking("orin", "10.0.0.7", "jetson", Lacking("away", "10.0.0.7:22 did not answer"))


def result(folder: Path, verdict: Verdict = "pass", *, passed: bool = True, agreement: float = 1.0) -> Result:
    """A result whose edges have a verdict."""
    values = made.regression(passed=passed)
    values["tasks"]["edge"] = {**values["tasks"]["edge"], "verdict": verdict}
    values["checks"] = {"edge": {"nonfinite_images": 0, "agreement": agreement}}
    return read_result(write(folder / "a.json", values))


def row(folder: Path, verdict: Verdict = "pass", *, passed: bool = True, agreement: float = 1.0) -> Row:
    """The row of a device that judged so."""
    return judged("nuc", "10.0.0.8", result(folder, verdict, passed=passed, agreement=agreement), earlier=False)


def test_only_what_is_shown_to_be_good_is_good(tmp_path: Path) -> None:
    good, allowed = row(tmp_path), row(tmp_path, "inconclusive")
    assert require_good([good, allowed]) is None  # type: ignore[func-returns-value]
    for bad in (
        row(tmp_path, "inconclusive", passed=False),
        row(tmp_path, "regression", passed=False),
        row(tmp_path, agreement=0.0),
    ):
        assert not bad.good and bad.lack is None
        with pytest.raises(RegressionFailed):
            require_good([good, bad, AWAY])
    with pytest.raises(TargetUnavailable, match="not every device gave a result") as caught:
        require_good([good, AWAY])
    assert "orin: away, 10.0.0.7:22 did not answer" in caught.value.got and "nuc" not in caught.value.got


def test_the_table_names_outcome_and_reason(tmp_path: Path) -> None:
    text = markdown([row(tmp_path, "regression", passed=False), AWAY], ["f32", "int8"])
    head, line, nuc, orin, *_ = text.splitlines()
    assert head == "| device | target | outcome | ran on | f32 | int8 |" and line.count("--") == 6
    assert "not within its budgets" in nuc and orin == "| orin | jetson | away | – | – | – |"
    assert "- nuc: not every task is within its budget: edge regression" in text


def page(folder: Path, rows: list[Row]) -> bytes:
    """The page of rows without results archives."""
    (folder / "out").mkdir()
    bundle = make(folder / "made", "reference")
    with parcel(bundle) as sent:
        return write_page([one.model_copy(update={"results": ""}) for one in rows], sent, folder / "out").read_bytes()


def test_a_page_without_any_result_passes_nothing(tmp_path: Path) -> None:
    text = Reader(page(tmp_path, [AWAY]).decode()).text
    assert (
        "Not every device gave a result" in text
        and "0 of 1 device within every budget. No result from: orin." in " ".join(text.split())
    )
    assert "Drops against budgets" not in text


@pytest.mark.slow
@pytest.mark.skipif(browser.BROWSER is None, reason="no Chromium here: apt-get install chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_stands_alone_and_fits(tmp_path: Path, width: int) -> None:
    made_page = page(tmp_path, [row(tmp_path), row(tmp_path, "regression", passed=False), AWAY])
    seen = browser.look(made_page, width=width)
    assert seen.title == "Not every device is within every budget: 3 devices"
    assert (seen.client, seen.scroll) == (width, width)
    assert (seen.resources, seen.requests, seen.console, seen.scripts, seen.overflowing) == ([], [], [], 0, [])
