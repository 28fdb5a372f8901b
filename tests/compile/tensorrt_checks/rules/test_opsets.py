"""The opset, and the types at the border."""

import pytest

from compile.tensorrt_checks.run import lint_model
from tests.compile.tensorrt_checks.rules.made import lint, parse

ONE = "g (float[2,8] x) => (float[2,8] y) { y = Relu (x) }"


@pytest.mark.parametrize("opset", [7, 8, 9, 20, 21, 24])
def test_an_operator_that_means_the_same_in_every_opset(opset: int) -> None:
    assert lint(ONE, opset) == []


@pytest.mark.parametrize(("version", "bad"), [("10.3", True), ("10.13", False)])
def test_an_operator_that_an_opset_changed(version: str, bad: bool) -> None:
    text = """g (float[1,4,2,2] x, float[4] a, float[4] b) => (float[1,4,2,2] y) {
        y = GroupNormalization <num_groups = 2> (x, a, b) }"""
    found = lint_model(parse(text, 21), "made", version=version).findings
    assert [(finding.rule, finding.severity) for finding in found] == ([("known-opset", "error")] if bad else [])


def test_an_output_without_a_type() -> None:
    [finding] = lint("g (float[2,8] x) => (y) { y = Relu (x) }")
    assert (finding.rule, finding.tensor) == ("known-opset", "y")


def test_a_type_no_network_has_at_its_border() -> None:
    text = "g (uint16[4] x) => (float[4] y) { y = Cast <to = 1> (x) }"
    assert {finding.rule for finding in lint(text)} == {"known-opset", "known-operator"}
