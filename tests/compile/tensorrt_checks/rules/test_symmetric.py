"""Rule 1: signed and symmetric."""

import pytest

from tests.compile.tensorrt_checks.rules.made import GOOD, broken, lint

UNSIGNED = GOOD.replace("int8 z = {0}", "uint8 z = {0}")


def test_the_good_graph_keeps_every_rule() -> None:
    assert lint(GOOD) == []


def test_an_unsigned_zero_point_is_one_finding_for_the_pair() -> None:
    [finding] = lint(UNSIGNED)
    assert (finding.rule, finding.severity, finding.tensor) == ("symmetric-int8", "error", "x")
    assert "int8" in finding.effect and "make_activations_signed" in finding.fix


def test_a_quantizer_without_a_zero_point_is_unsigned_by_the_standard() -> None:
    [finding] = lint(GOOD.replace("(x, s, z)", "(x, s)").replace("(q, s, z)", "(q, s)"))
    assert finding.rule == "symmetric-int8" and "without a zero-point" in finding.effect


def test_the_mend_keeps_the_range() -> None:
    [finding] = lint(GOOD.replace("(x, s, z)", "(x, s)").replace("(q, s, z)", "(q, s)"))
    assert "int8 0 and the scale 255/127" in finding.fix and "make_activations_signed)" in finding.fix


def test_the_mend_says_where_a_relu_is_missing() -> None:
    relu = UNSIGNED.replace("(x, s, z)", "(r, s, z)").replace("    q = ", "    r = Relu (x)\n    q = ")
    [known], [unknown] = lint(relu), lint(UNSIGNED)
    assert "with a Relu" in unknown.fix and "Relu" not in known.fix


def test_the_mend_names_the_pass_only_where_it_mends() -> None:
    text = UNSIGNED.replace("(q, s, z)", "(q, t, z)").replace("float s = {0.02}", "float s = {0.02}, float t = {0.03}")
    finding = next(finding for finding in lint(text) if finding.rule == "symmetric-int8")
    assert "does not: " in finding.fix and "another scale" in finding.fix


def test_an_asymmetric_range_is_not_told_to_change_its_type_alone() -> None:
    assert all("symmetric" in finding.fix for finding in lint(GOOD.replace("int8 z = {0}", "uint8 z = {3}")))


def test_a_zero_point_behind_an_identity_is_a_constant() -> None:
    text = GOOD.replace("int8 z = {0}", "int8 z0 = {0}").replace("    q = ", "    z = Identity (z0)\n    q = ")
    assert "symmetric-int8" not in broken(text)


def test_a_signed_output_type_needs_no_zero_point() -> None:
    text = GOOD.replace("QuantizeLinear (x, s, z)", "QuantizeLinear <output_dtype = 3> (x, s)")
    assert "symmetric-int8" not in broken(
        text.replace("DequantizeLinear (q, s, z)", "DequantizeLinear (q, s)"), opset=21
    )


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("int8 z = {0}", "int8 z = {3}", "other than 0"),
        ("int8 z = {0}", "int8[2] z = {0, 0}", "2 zero-points for 1"),
        ("int8 z = {0}", "int16 z = {0}", "INT16"),
        ("wz = {0, 0", "wz = {0, -1", "other than 0"),
    ],
)
def test_what_else_is_not_symmetric(old: str, new: str, word: str) -> None:
    text = GOOD.replace(old, new)
    assert text != GOOD
    assert [word in finding.effect for finding in lint(text) if finding.rule == "symmetric-int8"] == [True]


def test_another_integer_type_is_told_to_become_int8() -> None:
    [finding] = [one for one in lint(GOOD.replace("int8 z = {0}", "int16 z = {0}")) if "INT16" in one.effect]
    assert finding.fix.startswith("quantize to INT8")


def test_a_computed_zero_point() -> None:
    text = GOOD.replace("int8 z = {0}, ", "").replace("x) =>", "x, int8 z) =>")
    assert "symmetric-int8" in broken(text)
