"""Attention is found by structure."""

import pytest

from compile.graphs.attention import attentions
from tests.compile.tensorrt_checks.rules.made import parse

PLAIN = """
g (float[2,8,16] q, float[2,16,8] k, float[2,8,16] v, float[2,8,8] m) => (float[2,8,16] o)
<float c = {0.25}, float s = {0.01}, int8 z = {0}, float[16,8] w = {W}>
{
    [first] l = MatMul (q, k)
    [soft] p = Softmax (l)
    [second] o = MatMul (p, v)
}
""".replace("{W}", "{" + ", ".join(["1"] * 128) + "}")


def found(text: str) -> list[tuple[str | None, list[str], str | None]]:
    """Name the attentions of a graph: first product, operators between, second product."""
    graph = parse(text).graph
    return [(one.first.name, [node.op_type for node in one.between], one.second.name) for one in attentions(graph)]


@pytest.mark.parametrize(
    ("old", "new", "between"),
    [
        ("[soft] p = Softmax (l)", "[soft] p = Softmax (l)", []),
        ("[soft] p = Softmax (l)", "t = Mul (l, c)\n u = Add (m, t)\n [soft] p = Softmax (u)", ["Add", "Mul"]),
        (
            "[soft] p = Softmax (l)",
            "a = QuantizeLinear (l, s, z)\n b = DequantizeLinear (a, s, z)\n [soft] p = Softmax (b)",
            ["DequantizeLinear", "QuantizeLinear"],
        ),
        (
            "[second] o = MatMul (p, v)",
            "a = QuantizeLinear (p, s, z)\n b = DequantizeLinear (a, s, z)\n [second] o = MatMul (b, v)",
            [],
        ),
    ],
)
def test_what_may_stand_between(old: str, new: str, between: list[str]) -> None:
    assert found(PLAIN.replace(old, new)) == [("first", between, "second")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("MatMul (q, k)", "MatMul (q, w)"),  # a layer, no product of two activations
        ("MatMul (p, v)", "MatMul (v, p)"),  # the softmax is not the left operand
        ("Softmax (l)", "Relu (l)"),
        ("Softmax (l)", "Softmax (m)"),
    ],
)
def test_what_is_none(old: str, new: str) -> None:
    assert found(PLAIN.replace(old, new)) == []
