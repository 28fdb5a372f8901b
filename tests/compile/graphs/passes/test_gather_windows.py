"""Shift, padding and window partition become one Gather of rows; NumPy's roll and pad say what is right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.passes.gather_windows import gather_windows
from tests.compile.graphs.passes.made import operators, run, shaped


def shifted(height: int, width: int, channels: int, window: int, shift: int, tail: str = "y = Neg (p)") -> str:
    """A padded, rolled, partitioned map as the exporter writes it."""
    tall, wide = -(-height // window), -(-width // window)
    pad = f"0, 0, 0, 0, 0, {tall * window - height}, {wide * window - width}, 0"
    rows = f"{tall}, {window}, {wide}, {window}, {channels}"
    return f"""
g (float[1,{height},{width},{channels}] x) => (float[{tall * wide},{window * window},{channels}] y)
<int64[8] pads = {{{pad}}}, int64[1] zero = {{0}}, int64[1] end = {{9223372036854775807}}, int64[1] s = {{{shift}}},
 int64[1] a1 = {{1}}, int64[1] a2 = {{2}}, int64[6] cut = {{1, {rows}}}, int64[3] flat = {{{tall * wide}, {window * window}, {channels}}}>
{{
    n = Relu (x)
    padded = Pad (n, pads)
    low = Slice (padded, s, end, a1)
    high = Slice (padded, zero, s, a1)
    rolled = Concat <axis = 1> (low, high)
    left = Slice (rolled, s, end, a2)
    right = Slice (rolled, zero, s, a2)
    both = Concat <axis = 2> (left, right)
    c = Reshape (both, cut)
    t = Transpose <perm = [0, 1, 3, 2, 4, 5]> (c)
    p = Reshape (t, flat)
    {tail}
}}
"""


def partitioned(x: np.ndarray, window: int, shift: int) -> np.ndarray:
    """What the graph computes, with NumPy."""
    _, height, width, channels = x.shape
    padded = np.pad(x, ((0, 0), (0, -height % window), (0, -width % window), (0, 0)))
    rolled = np.roll(padded, (-shift, -shift), (1, 2))
    tall, wide = rolled.shape[1] // window, rolled.shape[2] // window
    cut = rolled.reshape(tall, window, wide, window, channels).transpose(0, 2, 1, 3, 4)
    return cut.reshape(tall * wide, window * window, channels)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 9), st.integers(3, 9), st.integers(2, 5), st.integers(2, 4), st.integers(1, 3))
def test_it_is_roll_pad_and_partition(height: int, width: int, channels: int, window: int, shift: int) -> None:
    shift = min(shift, window - 1)
    x = np.random.default_rng(height * width).normal(size=(1, height, width, channels)).astype(np.float32)
    model, sites = gather_windows(shaped(shifted(height, width, channels, window, shift)))
    assert sites == 1
    assert operators(model)["Gather"] == 1 and operators(model)["Slice"] == operators(model)["Transpose"] == 0
    assert np.array_equal(run(model, x=x)[0], -partitioned(x.clip(0), window, shift))


def test_a_row_of_zeros_is_appended_only_where_windows_need_padding() -> None:
    assert operators(gather_windows(shaped(shifted(5, 5, 3, 3, 1)))[0])["Concat"] == 1
    assert operators(gather_windows(shaped(shifted(6, 6, 3, 3, 1)))[0])["Concat"] == 0


def test_an_output_keeps_its_name_and_its_numbers() -> None:
    text = shifted(6, 6, 3, 3, 1, tail="y = Identity (p)").replace("p = Reshape (t, flat)", "y = Reshape (t, flat)")
    model, sites = gather_windows(shaped(text.replace("    y = Identity (p)\n", "")))
    x = np.random.default_rng(1).normal(size=(1, 6, 6, 3)).astype(np.float32)
    assert sites == 1 and [value.name for value in model.graph.outputs] == ["y"]
    assert np.array_equal(run(model, x=x)[0], partitioned(x.clip(0), 3, 1))


def test_the_neighbours_of_a_patch_merging_are_one_gather() -> None:
    text = """
g (float[1,4,4,3] x) => (float[1,2,2,6] y)
<int64[2] a = {0, 0}, int64[2] b = {1, 0}, int64[2] end = {4, 4}, int64[2] axes = {1, 2}, int64[2] steps = {2, 2}>
{
    n = Relu (x)
    one = Slice (n, a, end, axes, steps)
    two = Slice (n, b, end, axes, steps)
    j = Concat <axis = -1> (one, two)
    y = Neg (j)
}
"""
    x = np.random.default_rng(2).normal(size=(1, 4, 4, 3)).astype(np.float32)
    model, sites = gather_windows(shaped(text))
    assert sites == 1 and operators(model)["Slice"] == 0
    positive = x.clip(0)
    assert np.array_equal(run(model, x=x)[0], -np.concatenate([positive[:, ::2, ::2], positive[:, 1::2, ::2]], -1))


@pytest.mark.parametrize(
    "change",
    [
        ("perm = [0, 1, 3, 2, 4, 5]", "perm = [0, 1, 3, 2, 5, 4]"),  # rows are taken apart
        ("rolled = Concat <axis = 1> (low, high)", "o = Relu (high)\n rolled = Concat <axis = 1> (low, o)"),
        ("n = Relu (x)", "n = Identity (x)"),
    ],
)
def test_what_is_no_chain_of_whole_rows_keeps_its_partition(change: tuple[str, str]) -> None:
    text = shifted(6, 6, 3, 3, 1).replace(*change)
    x = np.random.default_rng(3).normal(size=(1, 6, 6, 3)).astype(np.float32)
    model, _ = gather_windows(shaped(text))
    assert (operators(model)["Transpose"] == 1) == ("Identity" not in change[1])
    assert np.array_equal(run(model, x=x)[0], run(shaped(text), x=x)[0])


def test_what_something_else_reads_stays() -> None:
    text = shifted(6, 6, 3, 3, 1).replace("c = Reshape", "extra = Abs (low)\n    c = Reshape")
    model = shaped(text)
    extra = next(node for node in model.graph if node.outputs[0].name == "extra")
    model.graph.outputs.append(extra.outputs[0])
    x = np.random.default_rng(4).normal(size=(1, 6, 6, 3)).astype(np.float32)
    want = run(shaped(text), x=x)[0]
    model, _ = gather_windows(model)
    got, low = run(model, x=x)
    assert np.array_equal(got, want) and np.array_equal(low, x.clip(0)[:, 1:])


def test_a_reshape_of_the_source_may_have_other_readers() -> None:
    text = shifted(6, 6, 3, 3, 1).replace(
        "n = Relu (x)", "f = Reshape (x, tokens)\n r = Relu (f)\n n = Reshape (r, map)"
    )
    text = text.replace("int64[8] pads", "int64[3] tokens = {1, 36, 3}, int64[4] map = {1, 6, 6, 3}, int64[8] pads")
    model = shaped(text.replace("c = Reshape", "extra = Abs (n)\n    c = Reshape"))
    extra = next(node for node in model.graph if node.outputs[0].name == "extra")
    model.graph.outputs.append(extra.outputs[0])
    x = np.random.default_rng(5).normal(size=(1, 6, 6, 3)).astype(np.float32)
    model, sites = gather_windows(model)
    assert sites == 1 and operators(model)["Slice"] == operators(model)["Transpose"] == 0
    got, other = run(model, x=x)
    assert np.array_equal(got, -partitioned(x.clip(0), 3, 1)) and np.array_equal(other, x.clip(0))


def test_a_lone_partition_is_one_transpose_already() -> None:
    text = """
g (float[1,4,4,3] x) => (float[4,4,3] y) <int64[6] cut = {1, 2, 2, 2, 2, 3}, int64[3] flat = {4, 4, 3}>
{
    n = Relu (x)
    c = Reshape (n, cut)
    t = Transpose <perm = [0, 1, 3, 2, 4, 5]> (c)
    p = Reshape (t, flat)
    y = Neg (p)
}
"""
    assert gather_windows(shaped(text))[1] == 0
