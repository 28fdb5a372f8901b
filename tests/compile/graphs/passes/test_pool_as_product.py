"""A mean over all places becomes one product; any other mean stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.passes.pool_as_product import pool_as_product
from tests.compile.graphs.passes.made import operators, run, shaped


def pooling(sizes: tuple[int, ...], axes: tuple[int, ...], *, keep: int) -> str:
    """The graph of one mean."""
    gone = {axis % len(sizes) for axis in axes}
    left = [1 if axis in gone else size for axis, size in enumerate(sizes) if keep or axis not in gone]
    shape, names = (",".join(map(str, one)) for one in (sizes, left))
    return f"""
g (float[{shape}] x) => (float[{names}] y)
<int64[{len(axes)}] axes = {{{", ".join(map(str, axes))}}}>
{{
    y = ReduceMean <keepdims = {keep}> (x, axes)
}}
"""


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from([(1, 49, 3), (2, 7, 7, 5), (1, 9, 11, 1), (1, 4, 4, 4, 2)]), st.sampled_from([0, 1]), st.booleans()
)
def test_it_is_the_mean_of_each_channel(sizes: tuple[int, ...], keep: int, backwards: bool) -> None:
    axes = tuple(axis - len(sizes) if backwards else axis for axis in range(1, len(sizes) - 1))
    model, sites = pool_as_product(shaped(pooling(sizes, axes, keep=keep)))
    x = np.random.default_rng(0).normal(size=sizes).astype(np.float32)
    want = x.astype(np.float64).mean(axes, keepdims=bool(keep))
    got = run(model, x=x)[0]
    assert sites == 1
    assert operators(model) == {"Reshape": 2, "MatMul": 1}
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert got.shape == want.shape
    assert np.abs(got - want).max() < 1e-6


def test_a_mean_of_integers_stays() -> None:
    text = pooling((1, 8, 8, 3), (1, 2), keep=1).replace("float[", "int32[")
    model, sites = pool_as_product(shaped(text))
    assert sites == 0 and operators(model) == {"ReduceMean": 1}


def test_a_second_run_finds_nothing() -> None:
    model, _ = pool_as_product(shaped(pooling((1, 8, 8, 3), (1, 2), keep=1)))
    assert pool_as_product(model)[1] == 0


@pytest.mark.parametrize(
    ("sizes", "axes"),
    [((2, 8, 8, 5), (1,)), ((2, 8, 8, 5), (2, 3)), ((2, 8, 8, 5), (0, 1, 2)), ((1, 6, 8), (1,)), ((2, 64), (1,))],
)
def test_another_mean_stays(sizes: tuple[int, ...], axes: tuple[int, ...]) -> None:
    model, sites = pool_as_product(shaped(pooling(sizes, axes, keep=1)))
    assert sites == 0
    assert operators(model) == {"ReduceMean": 1}
