"""Attention that no fused kernel takes; where TensorRT-RTX is installed, its builder says so of the broken and the fixed graph."""

from pathlib import Path

import onnx_ir as ir
import pytest

from bundle.formats.tensorrt_checks import Finding
from compile.tensorrt_checks.rtx_build import prove
from compile.tensorrt_checks.rules import attention_scale
from compile.tensorrt_checks.rules.fused_attention import NAME
from compile.tensorrt_checks.run import lint_model
from targets.jetson.rtx import unavailable
from tests.compile.tensorrt_checks.rules.made import lint, parse

STEP, QUARTER = 10854, 13312  # 0.05 and 0.25, the bits of FP16
PLAIN = f"""
g (float16[4,8,49,32] q, float16[4,8,32,49] k, float16[4,8,49,32] v) => (float16[4,8,49,32] y)
<float16 s = {{{STEP}}}, int8 z = {{0}}, float16 c = {{{QUARTER}}}>
{{
    [first] l = MatMul (q, k)
    [soft] p = Softmax (l)
    [second] o = MatMul (p, v)
    y = Identity (o)
}}
"""


def rounded(text: str, *names: str) -> str:
    """Let attention's readers of these values read them through a Q/DQ pair."""
    reads = {"q": "MatMul (q, ", "k": ", k)\n    [soft]", "p": "MatMul (p, ", "v": ", v)\n    y", "o": "Identity (o)"}
    makes = {"q": "[first]", "k": "[first]", "p": "[second]", "v": "[first]", "o": "y ="}
    for name in names:
        text = text.replace(reads[name], reads[name].replace(name, f"{name}d", 1) if name != "v" else ", vd)\n    y")
        pair = f"{name}q = QuantizeLinear ({name}, s, z)\n    {name}d = DequantizeLinear ({name}q, s, z)\n    "
        text = text.replace(makes[name], pair + makes[name], 1)
    return text


def masked(mask: str, query: str = "4,8", key: str = "4,8") -> str:
    """Add a mask of this shape to the logits; query and key have these leading axes."""
    text = PLAIN.replace("[soft] p = Softmax (l)", "t = Add (l, m)\n    [soft] p = Softmax (t)")
    text = text.replace("float16[4,8,49,32] q", f"float16[{query},49,32] q").replace(
        "float16[4,8,32,49] k", f"float16[{key},32,49] k"
    )
    return text.replace("32] v)", f"32] v, float16[{mask},49,49] m)", 1)


SIZED = PLAIN.replace("32", "24")
THREE_AXES = SIZED.replace("4,8,", "32,")
WIDE = PLAIN.replace("(float16[4,8,49,32] y)", "(float16[4,8,49,32] y, float16[4,8,49,49] l)")
# What is broken, the word of the finding, and the same fixed.
CASES = {
    "half": (rounded(PLAIN, "q", "k"), "first product is in INT8", rounded(PLAIN, "k")),
    "half, with V": (rounded(PLAIN, "q", "k", "v"), "first product is in INT8", rounded(PLAIN, "k", "v")),
    "half, and the output": (rounded(PLAIN, "q", "k", "o"), "first product is in INT8", rounded(PLAIN, "q", "o")),
    "softmax alone": (rounded(SIZED, "p"), "softmax's output is quantized", rounded(PLAIN, "p")),
    "second product": (rounded(PLAIN, "p", "v"), "second product is in INT8", rounded(PLAIN, "v")),
    "all but the output": (rounded(PLAIN, *"qkpv"), "the output is not quantized", rounded(PLAIN, *"qkpvo")),
    "head size": (rounded(SIZED, *"qkpvo"), "head size is none of (16, 32, 64)", rounded(SIZED, *"kvo")),
    "three axes": (THREE_AXES, "3 axes", SIZED),
    "mask": (masked("4,8", "1,8", "1,8"), "does not broadcast", masked("4,8")),
    "mask over heads": (masked("4,8", "4,1", "4,1"), "does not broadcast", masked("1,8")),
    "one key": (masked("1,8", key="4,1"), "repeats one operand", masked("1,8")),
    "another reader": (WIDE, "l leaves it", PLAIN),
}


def found(text: str) -> list[Finding]:
    return [finding for finding in lint(text) if finding.rule == NAME]


@pytest.mark.parametrize("name", CASES)
def test_the_broken_graph_is_named_with_a_mend_and_the_mended_one_is_not(name: str) -> None:
    broken, word, fixed = CASES[name]
    [finding] = found(broken)
    assert (finding.severity, finding.node) == ("warning", "first")
    assert word in finding.effect and finding.fix
    assert found(fixed) == []


def test_three_axes_are_fine_with_a_head_size_that_every_kernel_takes() -> None:
    assert found(PLAIN.replace("4,8,", "32,")) == []


@pytest.mark.parametrize("shape", ["1,1", "4,1", "1,8", "4,8"])
def test_a_mask_that_broadcasts_is_fine(shape: str) -> None:
    assert found(masked(shape)) == []


def test_attention_of_unknown_shape_is_judged_by_its_types_alone() -> None:
    unknown = PLAIN.replace("4,8,49,32", "n,8,t,32").replace("4,8,32,49", "n,8,32,t")
    assert found(unknown) == []
    assert len(found(rounded(unknown, "q", "k"))) == 1


@pytest.mark.slow
@pytest.mark.skipif(bool(unavailable()), reason=f"a build by TensorRT-RTX needs it: {unavailable()}")
@pytest.mark.parametrize("name", CASES)
def test_nvidias_builder_splits_the_broken_graph_and_fuses_the_mended_one(name: str, tmp_path: Path) -> None:
    broken, _, fixed = CASES[name]
    assert [_fused(text, tmp_path) for text in (broken, fixed)] == [0, 1]


@pytest.mark.skipif(bool(unavailable()), reason=f"a build by TensorRT-RTX needs it: {unavailable()}")
@pytest.mark.parametrize("shape", ["1,1", "4,1", "1,8", "4,8"])
def test_nvidias_builder_fuses_a_scale_behind_the_product_and_every_mask_that_broadcasts(
    shape: str, tmp_path: Path
) -> None:
    """So a late scale is a warning of rule 8 for FP16's range and NVIDIA's guide, and none of this rule."""
    late = masked(shape).replace("t = Add (l, m)", "u = Mul (l, c)\n    t = Add (u, m)")
    rules = {finding.rule for finding in lint_model(parse(late), "made").findings}
    assert attention_scale.NAME in rules and NAME not in rules
    assert _fused(late, tmp_path) == 1


def _fused(text: str, folder: Path) -> int:
    ir.save(parse(text), folder / "f16.onnx")
    [one] = prove([folder / "f16.onnx"]).graphs
    assert one.built and one.attentions == 1
    return one.fused
