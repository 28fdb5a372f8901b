"""How far two graphs are from each other."""

import numpy as np
import pytest

from bundle.base.errors import GraphError
from compile.stage.compare import OutputError, compare, require

GENERATOR = np.random.default_rng(0)


def test_relative_error_is_over_all_images_together() -> None:
    reference = [{"depth": GENERATOR.normal(size=(1, 4)).astype(np.float32)} for _ in range(3)]
    got = [{"depth": one["depth"] + np.float32(0.01)} for one in reference]
    [error] = compare(got, reference)
    joined = np.concatenate([one["depth"] for one in reference], axis=1).astype(np.float64)
    assert error.relative == pytest.approx(0.01 * np.sqrt(12) / np.sqrt((joined**2).sum()), rel=1e-4)
    assert error.max_abs == pytest.approx(0.01, rel=1e-4)


def test_label_maps_count_unequal_pixels() -> None:
    reference = [{"semseg": np.array([[0, 1], [2, 255]], np.uint8)}]
    [error] = compare([{"semseg": np.array([[0, 1], [1, 255]], np.uint8)}], reference)
    assert error.relative == 0.25


def test_equal_outputs_have_no_error() -> None:
    [error] = compare([{"x": np.zeros(3, np.float32)}], [{"x": np.zeros(3, np.float32)}])
    assert error.relative == 0 and error.max_abs == 0


@pytest.mark.parametrize(
    ("got", "named"),
    [
        ({}, "no such output"),
        ({"x": np.zeros(4, np.float32)}, "(4,)"),
        ({"x": np.zeros(3, np.float64)}, "float64"),
        ({"x": np.array([0, np.nan, 0], np.float32)}, "NaN"),
    ],
)
def test_what_cannot_be_compared_is_refused(got: dict[str, np.ndarray], named: str) -> None:
    with pytest.raises(GraphError) as caught:
        compare([got], [{"x": np.ones(3, np.float32)}])
    assert named in caught.value.got


def test_a_stage_names_every_output_beyond_its_tolerance() -> None:
    errors = (
        OutputError(output="edge", relative=1e-7, max_abs=0),
        OutputError(output="depth", relative=1e-3, max_abs=0),
    )
    assert require("convert", errors[:1], dict) == errors[:1]
    with pytest.raises(GraphError, match="output 'depth'"):
        require("convert", errors, dict)
    with pytest.raises(GraphError):
        require("convert", (OutputError(output="edge", relative=float("nan"), max_abs=0),), dict)
    undefined = OutputError(output="normals", relative=float("nan"), max_abs=float("nan"))
    with pytest.raises(GraphError, match="output 'depth', 'normals'") as caught:
        require("convert", (*errors, undefined), dict)  # max() never returns a NaN that is not the first
    assert caught.value.got == "0.001 (largest difference 0), nan (largest difference nan)"
