"""Ranges of tensors, and what they decide about FP16."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from compile.graphs.tensor_ranges import measure_ranges, nodes_at, too_wide, widest
from compile.stage.artifacts import Range
from tests.compile.graphs.passes.made import graph

TEXT = """
g (float[1,2] x) => (float[1,2] y)
<float[2,2] a = {300, 0, 0, -2}>
{
    [product] h = MatMul (x, a)
    [square] k = Mul (h, h)
    [root] r = Sqrt (k)
    [answer] y = MatMul (r, a)
}
"""
FEEDS = [{"x": np.array([[1, -7]], np.float32)}, {"x": np.array([[-2, 3]], np.float32)}]


@pytest.fixture
def ranges(tmp_path: Path) -> tuple[Range, ...]:
    ir.save(graph(TEXT), tmp_path / "g.onnx")
    return measure_ranges(tmp_path / "g.onnx", FEEDS, threads=1)


def test_the_largest_magnitude_over_all_images_of_every_tensor(ranges: tuple[Range, ...]) -> None:
    assert {row.tensor: row.largest for row in ranges} == {
        "x": 7.0,
        "h": 600.0,
        "k": 360000.0,
        "r": 600.0,
        "y": 180000.0,
    }
    assert [row.tensor for row in widest(ranges, 2)] == ["k", "y"]


def test_a_tensor_that_is_not_a_number_on_any_image_is_too_wide_and_stays_so_in_a_file(tmp_path: Path) -> None:
    ir.save(graph(TEXT), tmp_path / "g.onnx")
    spoilt = {"x": np.full((1, 2), np.nan, np.float32)}
    ranges = measure_ranges(tmp_path / "g.onnx", [*FEEDS, spoilt], threads=1)
    assert all(np.isnan(row.largest) for row in ranges)
    for row in (*ranges, Range(tensor="t", largest=np.inf)):
        written = row.model_dump_json()
        assert '"largest":null' in written
        assert too_wide([Range.model_validate_json(written)])


def test_what_leaves_half_with_headroom_is_named_with_the_nodes_around_it(ranges: tuple[Range, ...]) -> None:
    tensors = too_wide(ranges)
    assert set(tensors) == {"k", "y"} and "k reaches 3.6e+05" in tensors["k"]
    assert nodes_at(graph(TEXT).graph, tensors) == {
        "square": tensors["k"],
        "root": tensors["k"],
        "answer": tensors["y"],
    }


@pytest.mark.parametrize(
    ("largest", "wide"),
    [(16000.0, False), (17000.0, True), (np.inf, True), (np.nan, True), (1e-5, True), (0.0, False), (7e-5, False)],
)
def test_the_limits(largest: float, wide: bool) -> None:
    assert bool(too_wide([Range(tensor="t", largest=largest)])) == wide


DIVIDES = """
g (float[1,2] x, float[1,2] d) => (float[1,2] y)
{
    [less] e = Neg (d)
    [quotient] y = Div (x, e)
}
"""


@pytest.mark.parametrize(("least", "kept"), [(1e-6, {"less", "quotient"}), (1e-3, set())])
def test_a_division_stays_in_float32_where_its_divisor_falls_below_what_fp16_holds(
    tmp_path: Path, least: float, kept: set[str]
) -> None:
    ir.save(graph(DIVIDES), tmp_path / "g.onnx")
    feed = {"x": np.ones((1, 2), np.float32), "d": np.array([[3, least]], np.float32)}
    ranges = measure_ranges(tmp_path / "g.onnx", [feed], threads=1)
    tensors = too_wide([row for row in ranges if row.tensor == "e"])
    assert set(nodes_at(graph(DIVIDES).graph, tensors)) == kept
    assert all("a divisor, falls to 1e-06" in reason for reason in tensors.values())
