"""A final enlargement becomes two products; PyTorch's interpolation says what is right."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.passes.resize_as_products import BAND, bands, interpolation, resize_as_products
from tests.compile.graphs.passes.made import operators, run, shaped


def enlarged(channels: int, before: tuple[int, int], after: tuple[int, int], options: str = 'mode = "linear"') -> str:
    """A map, enlarged as the graph's output."""
    return f"""
g (float[1,{channels},{before[0]},{before[1]}] x) => (float[1,{channels},{after[0]},{after[1]}] y)
<int64[4] sizes = {{1, {channels}, {after[0]}, {after[1]}}}>
{{
    c = Relu (x)
    y = Resize <{options}> (c, , , sizes)
}}
"""


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(0, 9), st.integers(0, 9))
def test_it_is_pytorchs_interpolation(channels: int, tall: int, wide: int, more: int, wider: int) -> None:
    before, after = (tall, wide), (tall + more, wide + wider)
    x = np.random.default_rng(tall).normal(size=(1, channels, *before)).astype(np.float32)
    model, sites = resize_as_products(shaped(enlarged(channels, before, after)))
    want = torch.nn.functional.interpolate(torch.tensor(x).double().relu(), after, mode="bilinear", align_corners=False)
    assert sites == 1 and operators(model) == {"Relu": 1, "MatMul": 2, "Gather": 1, "Reshape": 1}
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert np.abs(run(model, x=x)[0] - want.numpy()).max() < 1e-6


def test_a_second_run_finds_nothing_and_half_stays_half() -> None:
    text = enlarged(2, (3, 3), (6, 7)).replace("float[", "float16[")
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 3)).astype(np.float16)
    model, sites = resize_as_products(shaped(text))
    rows, columns = interpolation(3, 6), interpolation(3, 7)
    got = run(model, x=x)[0]
    assert sites == 1 and resize_as_products(model)[1] == 0 and got.dtype == np.float16
    assert np.abs(got - rows @ x.clip(0).astype(np.float64) @ columns.T).max() < 1e-2


@given(st.integers(1, 12), st.integers(1, 40))
def test_every_row_of_weights_sums_to_one(size: int, to: int) -> None:
    weights = interpolation(size, to)
    assert weights.shape == (to, size)
    assert np.allclose(weights.sum(1), 1) and (weights >= 0).all() and (np.count_nonzero(weights, axis=1) <= 2).all()


@given(st.integers(1, 12), st.integers(0, 90))
def test_the_bands_are_the_whole_matrix(size: int, more: int) -> None:
    columns, weights = bands(size, size + more)
    whole = np.zeros((weights.shape[0], weights.shape[1], size))
    np.put_along_axis(whole, np.broadcast_to(columns[:, None, :], weights.shape), weights, axis=2)
    assert np.array_equal(whole.reshape(-1, size), interpolation(size, size + more))
    assert weights.shape[1] >= min(BAND, size + more)


def test_a_band_reads_few_columns() -> None:
    columns, weights = bands(28, 224)
    assert columns.shape == (7, 6) and weights.shape == (7, 32, 6)


@pytest.mark.parametrize(
    "text",
    [
        enlarged(2, (4, 4), (8, 8), 'mode = "nearest"'),
        enlarged(2, (4, 4), (8, 8), 'mode = "linear", coordinate_transformation_mode = "align_corners"'),
        enlarged(2, (4, 4), (8, 8), 'mode = "linear", keep_aspect_ratio_policy = "not_larger"'),
        enlarged(2, (4, 4), (8, 8), 'mode = "linear", axes = [2, 3]').replace(
            "int64[4] sizes = {1, 2, 8, 8}", "int64[2] sizes = {8, 8}"
        ),
        enlarged(2, (4, 4), (8, 8))
        .replace("int64[4] sizes = {1, 2, 8, 8}", "float[4] sizes = {1, 1, 2, 2}")
        .replace("(c, , , sizes)", "(c, , sizes)"),
        enlarged(2, (8, 8), (4, 4)),  # a reduction is cheap, and its products are not
        enlarged(2, (4, 4), (8, 8))
        .replace("y = Resize", "d = Resize")
        .replace("sizes)\n}", "sizes)\n    y = Neg (d)\n}"),
    ],
)
def test_it_does_not_fire(text: str) -> None:
    model, sites = resize_as_products(shaped(text))
    assert sites == 0
    assert operators(model)["Resize"] == 1
