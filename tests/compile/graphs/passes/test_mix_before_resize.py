"""A 1×1 convolution moves before the resizes of what it mixes; float64 NumPy says what is right."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.graphs.passes.mix_before_resize import mix_before_resize
from compile.graphs.passes.resize_as_products import interpolation
from tests.compile.graphs.passes.made import operators, run, shaped

BRANCHES = ((2, 8), (3, 4), (4, 2), (5, 2))


def mixed(branches: tuple[tuple[int, int], ...], *, bias: bool = True, conv: str = "kernel_shape = [1, 1]") -> str:
    """Branches of (channels, side), resized to 8×8 where they are smaller, joined and mixed into 6 channels."""
    inputs = ", ".join(f"float[1,{channels},{side},{side}] x{i}" for i, (channels, side) in enumerate(branches))
    sizes = ", ".join(f"int64[4] s{i} = {{1, {channels}, 8, 8}}" for i, (channels, _) in enumerate(branches))
    lines = [f'r{i} = Resize <mode = "linear"> (x{i}, , , s{i})' for i, (_, side) in enumerate(branches) if side != 8]
    names = ", ".join(f"r{i}" if side != 8 else f"x{i}" for i, (_, side) in enumerate(branches))
    total = sum(channels for channels, _ in branches)
    rows = "\n    ".join(
        [*lines, f"j = Concat <axis = 1> ({names})", f"c = Conv <{conv}> (j, w{', b' if bias else ''})"]
    )
    weight = ", ".join(f"{value:.4f}" for value in WEIGHT[:, :total].ravel())
    offset = ", ".join(f"{value:.4f}" for value in BIAS)
    return f"""
g ({inputs}) => (float[1,6,8,8] y)
<{sizes}, float[6,{total},1,1] w = {{{weight}}}, float[6] b = {{{offset}}}>
{{
    {rows}
    y = Relu (c)
}}
"""


WEIGHT = np.random.default_rng(0).normal(size=(6, 40)).round(4)
BIAS = np.random.default_rng(1).normal(size=6).round(4)


def feeds(branches: tuple[tuple[int, int], ...]) -> dict[str, np.ndarray]:
    """Random maps."""
    generator = np.random.default_rng(2)
    return {
        f"x{i}": generator.normal(size=(1, c, side, side)).astype(np.float32) for i, (c, side) in enumerate(branches)
    }


def expected(branches: tuple[tuple[int, int], ...], feed: dict[str, np.ndarray], *, bias: bool) -> np.ndarray:
    """Σ_i W_i (A x_i Aᵀ) + b in float64."""
    edges = np.cumsum([0, *(channels for channels, _ in branches)])
    total = np.zeros((6, 8, 8)) + (BIAS[:, None, None] if bias else 0)
    for i, (start, end) in enumerate(pairwise(edges)):
        a = interpolation(branches[i][1], 8)
        total += np.einsum("oc,chw->ohw", WEIGHT[:, start:end], a @ feed[f"x{i}"][0].astype(np.float64) @ a.T)
    return total.clip(0)[None]


@pytest.mark.parametrize("bias", [True, False])
def test_one_convolution_per_size_and_one_resize_per_smaller_size(bias: bool) -> None:
    feed = feeds(BRANCHES)
    model, sites = mix_before_resize(shaped(mixed(BRANCHES, bias=bias)))
    assert sites == 1
    assert operators(model) == {"Conv": 3, "Resize": 2, "Add": 2, "Concat": 1, "Relu": 1}
    assert np.abs(run(model, **feed)[0] - expected(BRANCHES, feed, bias=bias)).max() < 1e-5
    assert mix_before_resize(model)[1] == 0


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([1, 2, 3, 4, 8])), min_size=2, max_size=5))
def test_any_branches(drawn: list[tuple[int, int]]) -> None:
    branches = tuple(drawn)
    feed = feeds(branches)
    model, sites = mix_before_resize(shaped(mixed(branches)))
    assert sites == any(side != 8 for _, side in branches)
    assert np.abs(run(model, **feed)[0] - expected(branches, feed, bias=True)).max() < 1e-5


def test_branches_of_one_size_but_two_kinds_of_resize_stay_apart() -> None:
    branches = ((2, 8), (3, 4), (4, 4))
    text = mixed(branches).replace(
        'r2 = Resize <mode = "linear">',
        'r2 = Resize <mode = "linear", coordinate_transformation_mode = "align_corners">',
    )
    feed = feeds(branches)
    model, sites = mix_before_resize(shaped(text))
    assert sites == 1 and operators(model)["Conv"] == 3 and operators(model)["Resize"] == 2
    assert np.abs(run(model, **feed)[0] - run(shaped(text), **feed)[0]).max() < 1e-5


def one_branch(declared: str, constants: str, body: str) -> str:
    """Four channels of 4×4, resized to 8×8 and mixed by a convolution of our choice."""
    return f"""
g (float[1,4,4,4] x) => (float[{declared}] y)
<int64[4] sizes = {{1, 4, 8, 8}}, float[4] scales = {{1, 1, 2, 2}}, {constants}>
{{
    {body}
}}
"""


RESIZED = 'r = Resize <mode = "linear"> (x, , , sizes)'


@pytest.mark.parametrize(
    "text",
    [
        one_branch(
            "1,2,8,8",
            f"float[2,4,3,3] w = {{{', '.join(['1'] * 72)}}}",
            f"{RESIZED}\n j = Concat <axis = 1> (r)\n y = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (j, w)",
        ),
        one_branch(
            "1,2,8,8",
            f"float[2,2,1,1] w = {{{', '.join(['1'] * 4)}}}",
            f"{RESIZED}\n j = Concat <axis = 1> (r)\n y = Conv <kernel_shape = [1, 1], group = 2> (j, w)",
        ),
        one_branch(
            "1,2,16,8",
            f"float[2,4,1,1] w = {{{', '.join(['1'] * 8)}}}",
            f"{RESIZED}\n j = Concat <axis = 2> (r, r)\n y = Conv <kernel_shape = [1, 1]> (j, w)",
        ),
        one_branch(
            "1,2,8,8",
            f"float[2,4,1,1] w = {{{', '.join(['1'] * 8)}}}",
            'r = Resize <mode = "linear"> (x, , scales)\n j = Concat <axis = 1> (r)\n y = Conv <kernel_shape = [1, 1]> (j, w)',
        ),
    ],
    ids=["3×3", "groups", "another axis", "a scale, not a size"],
)
def test_what_does_not_commute_stays(text: str) -> None:
    model = shaped(text)
    before = operators(model)
    assert mix_before_resize(model)[1] == 0
    assert operators(model) == before


@pytest.mark.parametrize(
    "change",
    [
        ('mode = "linear"', 'mode = "nearest"'),
        ("kernel_shape = [1, 1]", "kernel_shape = [1, 1], pads = [0, 0, 0, 0], strides = [2, 2]"),
        ("y = Relu (c)", "d = Relu (c)\n    e = Abs (j)\n    f = ReduceMean (e)\n    y = Add (d, f)"),
        ("c = Conv <kernel_shape = [1, 1]> (j, w, b)", "v = Neg (w)\n    c = Conv <kernel_shape = [1, 1]> (j, v, b)"),
        ('mode = "linear"', 'mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"'),
        ('mode = "linear"', 'mode = "linear", keep_aspect_ratio_policy = "not_larger"'),
    ],
)
def test_it_does_not_fire(change: tuple[str, str]) -> None:
    text = mixed(BRANCHES).replace(*change)
    if "strides" in change[1]:
        text = text.replace("float[1,6,8,8] y", "float[1,6,4,4] y")
    model = shaped(text)
    before = operators(model)
    assert mix_before_resize(model)[1] == 0
    assert operators(model) == before
