"""The opset, and the types at the border."""

import pytest

from tests.compile.tensorrt_checks.rules.made import lint

ONE = "g (float[2,8] x) => (float[2,8] y) { y = Relu (x) }"


@pytest.mark.parametrize(("opset", "bad"), [(8, True), (9, False), (20, False), (21, True), (24, True)])
def test_the_opsets_of_the_parser(opset: int, bad: bool) -> None:
    found = [(finding.rule, finding.severity) for finding in lint(ONE, opset)]
    assert found == ([("known-opset", "error")] if bad else [])


def test_a_type_no_network_has_at_its_border() -> None:
    text = "g (uint16[4] x) => (float[4] y) { y = Cast <to = 1> (x) }"
    assert {finding.rule for finding in lint(text)} == {"known-opset", "known-operator"}
