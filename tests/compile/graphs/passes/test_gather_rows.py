"""A transpose of whole rows becomes one Gather; NumPy's transpose says what is right."""

import numpy as np
import pytest

from compile.graphs.passes.gather_rows import gather_rows
from tests.compile.graphs.passes.made import operators, run, shaped

PARTITION = """
g (float[1,4,6,3] x) => (float[6,4,3] y) <int64[6] cut = {1, 2, 2, 3, 2, 3}, int64[3] flat = {6, 4, 3}>
{
    n = Relu (x)
    c = Reshape (n, cut)
    t = Transpose <perm = [0, 1, 3, 2, 4, 5]> (c)
    p = Reshape (t, flat)
    y = Neg (p)
}
"""
HEADS = """
g (float[2,3,4,5] x) => (float[2,4,15] y) <int64[3] flat = {2, 4, 15}>
{
    n = Relu (x)
    t = Transpose <perm = [0, 2, 1, 3]> (n)
    p = Reshape (t, flat)
    y = Neg (p)
}
"""


def test_a_partition_is_a_gather_of_its_tokens() -> None:
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 3)).astype(np.float32)
    model, sites = gather_rows(shaped(PARTITION))
    assert sites == 1 and operators(model)["Gather"] == 1 and operators(model)["Transpose"] == 0
    want = -x.clip(0).reshape(2, 2, 3, 2, 3).transpose(0, 2, 1, 3, 4).reshape(6, 4, 3)
    assert np.array_equal(run(model, x=x)[0], want)
    assert gather_rows(model)[1] == 0


def test_heads_are_joined_by_a_gather() -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)
    model, sites = gather_rows(shaped(HEADS))
    assert sites == 1 and operators(model)["Gather"] == 1 and operators(model)["Transpose"] == 0
    assert np.array_equal(run(model, x=x)[0], -x.clip(0).transpose(0, 2, 1, 3).reshape(2, 4, 15))


@pytest.mark.parametrize(
    "text",
    [
        PARTITION.replace("perm = [0, 1, 3, 2, 4, 5]", "perm = [0, 1, 3, 2, 5, 4]"),  # rows are taken apart
        HEADS.replace("perm = [0, 2, 1, 3]", "perm = [0, 2, 3, 1]"),
        PARTITION.replace("    t = Transpose <perm = [0, 1, 3, 2, 4, 5]> (c)\n", "").replace("(t, flat)", "(c, flat)"),
    ],
)
def test_it_does_not_fire(text: str) -> None:
    assert gather_rows(shaped(text))[1] == 0
