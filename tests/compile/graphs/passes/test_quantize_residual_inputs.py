"""A skip input takes the pair that its tensor has already."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.match import reason_against
from compile.graphs.nodes import nodes_of
from compile.graphs.passes.quantize_residual_inputs import match, quantize_residual_inputs
from compile.tensorrt_checks.run import lint_model
from tests.compile.graphs.passes.made import graph, operators, run
from tests.compile.tensorrt_checks.rules.made import SIZE
from tests.compile.tensorrt_checks.rules.test_residual import FLOAT_SKIP


def test_the_skip_input_gets_a_second_dq_of_the_same_q() -> None:
    model, modified = quantize_residual_inputs(graph(FLOAT_SKIP))
    before = operators(graph(FLOAT_SKIP))
    assert modified
    assert operators(model) == {**before, "DequantizeLinear": before["DequantizeLinear"] + 1}
    assert lint_model(model, "after").findings == ()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_numbers_are_the_oracles(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(64, SIZE)).astype(np.float32)
    weight = np.where(np.eye(SIZE, dtype=bool), 100, 3) * 0.01
    rounded = 0.02 * np.clip(np.rint(x / np.float32(0.02)).astype(np.float64), -128, 127)
    [after] = run(quantize_residual_inputs(graph(FLOAT_SKIP))[0], x=x)
    close = np.isclose(after, rounded @ weight + 0.5 + rounded, rtol=1e-5, atol=1e-4)
    assert close.all()
    [before] = run(graph(FLOAT_SKIP), x=x)
    inside = np.abs(x) < 127 * 0.02
    assert np.abs(after - before)[inside].max() <= 0.5 * 0.02 + 1e-4


def test_it_is_idempotent() -> None:
    model, _ = quantize_residual_inputs(graph(FLOAT_SKIP))
    assert quantize_residual_inputs(model)[1] is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            FLOAT_SKIP.replace("Add (n, x)", "Add (n, r)").replace("n = Add", "r = Relu (x)\n    n = Add"),
            "no scale for it",
        ),
        (FLOAT_SKIP.replace("MatMul (d, v)", "MatMul (x, v)"), "nothing to an INT8 product"),
        (FLOAT_SKIP.replace("Add (n, x)", "Add (n, d)"), "already"),
    ],
)
def test_it_does_not_fire(text: str, reason: str) -> None:
    model, modified = quantize_residual_inputs(graph(text))
    assert modified is False
    assert reason in (reason_against(match, list(nodes_of(model, "Add"))[-1]) or "")


def test_another_reader_of_the_integers_is_no_dq_and_a_pair_behind_the_add_is_moved_before_it() -> None:
    text = FLOAT_SKIP.replace("MatMul (d, v)", "MatMul (e, v)").replace(
        "    q = QuantizeLinear (x, s, z)\n    d = DequantizeLinear (q, s, z)\n",
        "    p = QuantizeLinear (r, s, z)\n    e = DequantizeLinear (p, s, z)\n",
    )
    text = text.replace("{\n    p =", "{\n    r = Relu (x)\n    p =").rstrip().removesuffix("}")
    text += "    q = QuantizeLinear (x, s, z)\n i = Reshape (q, k)\n d = DequantizeLinear (q, s, z)\n h = Relu (d)\n}"
    text = text.replace("int8 z = {0},", "int8 z = {0}, int64[1] k = {-1},", 1)
    text = text.replace(f"(float[64,{SIZE}] y)", f"(float[64,{SIZE}] y, int8[n] i, float[64,{SIZE}] h)")
    model, modified = quantize_residual_inputs(graph(text))
    assert modified
    [skip] = [node for node in nodes_of(model, "DequantizeLinear") if node.name == "y/skip"]
    assert skip.inputs[0] is not None and skip.inputs[0].name == "q"
    run(model, x=np.ones((64, SIZE), np.float32))
