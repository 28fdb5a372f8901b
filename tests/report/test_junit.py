"""JUnit XML: read back by the standard library, one case per task and question."""

from xml.etree import ElementTree

from bundle.judging.checks import QUESTIONS, answers
from bundle.judging.regression_report import RegressionReport
from report.junit import junit
from tests.report import made


def test_every_check_is_a_case_and_a_failure_says_why() -> None:
    report = RegressionReport.model_validate(made.failing())
    checks = answers(report, allow_inconclusive=False)
    suite = ElementTree.fromstring(junit(report, checks))
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert len(cases) == len(report.tasks) * len(QUESTIONS) == int(str(suite.get("tests")))
    failed = [name for name, case in cases.items() if case.find("failure") is not None]
    assert failed == ["test_budget[normals]", "test_budget[depth]", "test_budget[edge]"]
    assert suite.get("failures") == "3"
    failure = cases["test_budget[normals]"].find("failure")
    assert failure is not None and "normals: mean angular error 18.200°" in str(failure.get("message"))
    values = {one.get("name"): one.get("value") for one in cases["test_budget[normals]"].iter("property")}
    assert values["verdict"] == "regression" and float(str(values["budget"])) == 0.01
    assert cases["test_baseline[edge]"].find("skipped") is not None


def test_hostile_names_stay_text() -> None:
    report = RegressionReport.model_validate({**made.regression(), "model": '<x a="1">&'})
    suite = ElementTree.fromstring(junit(report, answers(report, allow_inconclusive=False)))
    assert str(suite.get("name")).startswith('<x a="1">&')


def test_a_control_character_is_escaped_and_the_file_is_still_xml() -> None:
    report = RegressionReport.model_validate({**made.regression(), "model": "x\x1b[2J\u202e"})
    suite = ElementTree.fromstring(junit(report, answers(report, allow_inconclusive=False)))
    assert str(suite.get("name")).startswith("x\\u001b[2J\\u202e")
