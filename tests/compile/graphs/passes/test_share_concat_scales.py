"""One scale before a Concat."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.match import reason_against
from compile.graphs.nodes import constant, nodes_of
from compile.graphs.passes.share_concat_scales import match, share_concat_scales
from compile.tensorrt_checks.run import lint_model
from tests.compile.graphs.passes.made import graph, operators, run
from tests.compile.tensorrt_checks.rules.test_concat import CONCAT


def scales(text: str) -> set[float]:
    """The scales of the Q nodes after the pass."""
    model, _ = share_concat_scales(graph(text))
    found = [constant(node.inputs[1]) for node in nodes_of(model, "QuantizeLinear")]
    return {round(float(scale), 6) for scale in found if scale is not None}


def test_the_largest_scale_is_everybodys() -> None:
    assert scales(CONCAT) == {0.5}
    model, modified = share_concat_scales(graph(CONCAT))
    assert modified and operators(model) == operators(graph(CONCAT))
    assert "shared-scale" not in {finding.rule for finding in lint_model(model, "after").findings}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 100))
def test_numbers_are_those_of_the_oracle_with_the_common_scale(seed: int, spread: float) -> None:
    generator = np.random.default_rng(seed)
    x, w = (generator.normal(scale=spread, size=(1, 4, 8)).astype(np.float32) for _ in range(2))
    [after] = run(share_concat_scales(graph(CONCAT))[0], x=x, w=w)
    joined = np.concatenate([x, w], 1).astype(np.float64)
    assert np.allclose(after, 0.5 * np.clip(np.rint(joined / 0.5), -128, 127), atol=1e-6)


def test_what_only_moves_data_is_looked_through() -> None:
    text = CONCAT.replace(
        "y = Concat <axis = 1> (d, e)", "r = Transpose <perm = [0, 1, 2]> (d)\n    y = Concat <axis = 1> (r, e)"
    )
    assert scales(text) == {0.5}


def test_two_concats_that_share_an_input_get_one_scale_together() -> None:
    text = CONCAT.replace("float t = {0.5}", "float t = {0.5}, float u = {2}").replace(
        "y = Concat <axis = 1> (d, e)",
        "o = QuantizeLinear (w, u, z)\n    f = DequantizeLinear (o, u, z)\n    y = Concat <axis = 1> (d, e)\n    v = Concat <axis = 1> (e, f)",
    )
    assert scales(text.replace("=> (float[1,8,8] y)", "=> (float[1,8,8] y, float[1,8,8] v)")) == {2.0}


def test_it_is_idempotent() -> None:
    model, _ = share_concat_scales(graph(CONCAT))
    assert share_concat_scales(model)[1] is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CONCAT.replace("(d, e)", "(d, w)"), "Concat of floats"),
        (CONCAT.replace("(w, t, z)", "(w, s, z)").replace("(p, t, z)", "(p, s, z)"), "already"),
        (CONCAT.replace("int8 z = {0}", "int8 z = {1}"), "zero-point 0"),
        (CONCAT.replace("=> (float[1,8,8] y)", "=> (float[1,8,8] y, int8[1,4,8] q)"), "leaves the graph"),
    ],
)
def test_it_does_not_fire(text: str, reason: str) -> None:
    model, modified = share_concat_scales(graph(text))
    assert modified is False
    [node] = nodes_of(model, "Concat")
    assert reason in (reason_against(match, node) or "")


@pytest.mark.parametrize(
    "body",
    [
        "c = Concat <axis = 1> (d, e)\n y = Concat <axis = 1> (c, f)",
        "c = Concat <axis = 1> (f, e)\n r = Relu (c)\n y = Concat <axis = 1> (r, d)",
        "h, i = Split <axis = 1, num_outputs = 2> (d)\n y = Concat <axis = 1> (h, e, i, f)",
    ],
)
def test_what_the_rule_looks_through_the_pass_looks_through(body: str) -> None:
    text = CONCAT.replace("float t = {0.5}", "float t = {0.5}, float u = {2}").replace(
        "y = Concat <axis = 1> (d, e)", f"o = QuantizeLinear (w, u, z)\n f = DequantizeLinear (o, u, z)\n {body}"
    )
    text = text.replace("float[1,8,8] y", "float[1,n,8] y")
    assert "shared-scale" in {finding.rule for finding in lint_model(graph(text), "before").findings}
    model, _ = share_concat_scales(graph(text))
    assert "shared-scale" not in {finding.rule for finding in lint_model(model, "after").findings}
    assert scales(text) == {2.0}
