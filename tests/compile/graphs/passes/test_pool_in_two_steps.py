"""A mean over 2×2 neighbours becomes two contiguous means; any other mean stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.passes.pool_in_two_steps import pool_in_two_steps
from tests.compile.graphs.passes.made import operators, run, shaped


def pooling(batch: int, tall: int, a: int, wide: int, b: int, channels: int, axes: str = "2, 4", keep: int = 0) -> str:
    """The graph that a mean over groups of pixels exports to."""
    return f"""
g (float[{batch},{tall * a},{wide * b},{channels}] x) => (float[{batch},{tall},{wide},{channels}] y)
<int64[6] cut = {{{batch}, {tall}, {a}, {wide}, {b}, {channels}}}, int64[2] axes = {{{axes}}}>
{{
    c = Reshape (x, cut)
    y = ReduceMean <keepdims = {keep}> (c, axes)
}}
"""


def test_one_mean_becomes_two_and_the_output_keeps_its_name() -> None:
    model, sites = pool_in_two_steps(shaped(pooling(1, 2, 2, 3, 2, 4)))
    assert sites == 1
    assert operators(model) == {"Reshape": 3, "ReduceMean": 2}
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert pool_in_two_steps(model)[1] == 0


def test_what_else_reads_the_groups_keeps_them() -> None:
    text = (
        pooling(1, 2, 2, 3, 2, 4)
        .replace("y = ReduceMean", "m = ReduceMean")
        .replace(
            "axes)\n}", "axes)\n    k = Neg (c)\n    f = ReduceMean <keepdims = 0> (k, axes)\n    y = Mul (m, f)\n}"
        )
    )
    x = np.random.default_rng(1).normal(size=(1, 4, 6, 4)).astype(np.float32)
    model, sites = pool_in_two_steps(shaped(text))
    assert sites == 1 and "Neg" in operators(model)
    want = x.astype(np.float64).reshape(1, 2, 2, 3, 2, 4).mean((2, 4))
    assert np.abs(run(model, x=x)[0] + want**2).max() < 1e-6


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(1, 4)] * 6), st.sampled_from(["2, 4", "4, 2", "-4, -2"]))
def test_it_is_the_mean_of_the_group(sizes: tuple[int, ...], axes: str) -> None:
    batch, tall, a, wide, b, channels = sizes
    x = np.random.default_rng(0).normal(size=(batch, tall * a, wide * b, channels)).astype(np.float32)
    model, sites = pool_in_two_steps(shaped(pooling(batch, tall, a, wide, b, channels, axes)))
    want = x.astype(np.float64).reshape(batch, tall, a, wide, b, channels).mean((2, 4))
    assert sites == 1
    assert np.abs(run(model, x=x)[0] - want).max() < 1e-6


@pytest.mark.parametrize(
    "text",
    [
        pooling(1, 2, 2, 2, 2, 2, axes="1, 3").replace("float[1,2,2,2] y", "float[1,2,2,2] y"),
        pooling(1, 2, 2, 2, 2, 2, keep=1).replace("float[1,2,2,2] y", "float[1,2,1,2,1,2] y"),
        pooling(1, 2, 2, 2, 2, 2)
        .replace("cut = {1, 2, 2, 2, 2, 2}", "cut = {2, 1, 2, 2, 2, 2}")
        .replace("[1,2,2,2] y", "[2,1,2,2] y"),
    ],
)
def test_another_mean_stays(text: str) -> None:
    model, sites = pool_in_two_steps(shaped(text))
    assert sites == 0
    assert operators(model) == {"Reshape": 1, "ReduceMean": 1}
