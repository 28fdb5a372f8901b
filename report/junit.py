"""The checks of a report as JUnit XML, for a build server that knows nothing else."""

from collections.abc import Iterable
from xml.etree import ElementTree

from bundle.base.escaping import escaped
from bundle.formats.outputs import marked
from bundle.judging.checks import Check
from bundle.judging.regression_report import RegressionReport

TESTS = "tests.regression.test_bundle"
JUNIT = marked(f'classname="{TESTS}"'.encode())  # what may be written over


def junit(report: RegressionReport, checks: Iterable[Check]) -> str:
    """Return one test case per task and question, named as pytest names them; a gated figure's numbers are properties."""
    rows = list(checks)
    suite = ElementTree.Element(
        "testsuite",
        name=f"{report.model} {report.target} {report.precision}",
        tests=str(len(rows)),
        failures=str(sum(not row.passed for row in rows)),
        skipped=str(sum(bool(row.skipped) for row in rows)),
        errors="0",
    )
    for row in rows:
        case = ElementTree.SubElement(suite, "testcase", classname=TESTS, name=f"test_{row.question}[{row.task}]")
        if row.question == "budget":
            _properties(case, report.tasks[row.task].model_dump(mode="json", exclude={"figures"}))
        if not row.passed:
            ElementTree.SubElement(case, "failure", message=row.text).text = row.text
        elif row.skipped:
            ElementTree.SubElement(case, "skipped", message=row.skipped)
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + escaped(ElementTree.tostring(suite, encoding="unicode")) + "\n"


def _properties(case: ElementTree.Element, values: dict[str, object]) -> None:
    rows = ElementTree.SubElement(case, "properties")
    for name, value in values.items():
        ElementTree.SubElement(rows, "property", name=name, value=str(value))
