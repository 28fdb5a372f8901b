"""Rule 9: types of scales, and opsets that know them."""

import pytest

from tests.compile.tensorrt_checks.rules.made import GOOD, lint

RULE = "typed-scales"
BITS = {"{0.02": "{9503", "0.01": "8479", "0.5": "14336"}  # ONNX text gives float16 by its bits


def half() -> str:
    """The good graph with every float a float16."""
    text = GOOD.replace("float ", "float16 ").replace("float[", "float16[")
    for number, bits in BITS.items():
        text = text.replace(number, bits)
    return text


HALF = half()


def test_half_throughout_is_fine_at_opset_19_and_20() -> None:
    assert lint(HALF) == []
    assert lint(HALF, opset=19) == []


def test_a_float_scale_on_half_data() -> None:
    text = GOOD.replace("float[64,32] x", "float16[64,32] x")
    [finding, *_] = [finding for finding in lint(text) if finding.rule == RULE]
    assert finding.severity == "error" and "FLOAT, its data FLOAT16" in finding.effect


@pytest.mark.parametrize(("text", "opset", "word"), [(HALF, 18, "FP16"), (GOOD, 12, "INT8 Q/DQ")])
def test_an_opset_that_does_not_know_it(text: str, opset: int, word: str) -> None:
    found = [finding for finding in lint(text, opset) if finding.rule == RULE]
    assert any(word in finding.effect for finding in found)


def test_blocks_need_opset_21() -> None:
    text = GOOD.replace("<axis = 1> (w", "<axis = 1, block_size = 16> (w")
    assert any(finding.rule == RULE and "blocks" in finding.effect for finding in lint(text))
