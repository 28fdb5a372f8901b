"""Preprocessing: the arithmetic, and the refusals."""

import numpy as np
import pytest
from pydantic import ValidationError

from bundle.base.errors import DatasetError
from bundle.tasks.preprocess import Preprocess

PREPROCESS = Preprocess(height=6, width=8)


def test_it_is_the_float64_formula_within_float32() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    tensor = PREPROCESS.apply(image)
    assert tensor.shape == (1, 3, 6, 8) and tensor.dtype == np.float32 and tensor.flags.c_contiguous
    exact = (image / 255 - np.array(PREPROCESS.mean)) / np.array(PREPROCESS.std)
    np.testing.assert_allclose(tensor[0].transpose(1, 2, 0), exact, atol=1e-6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 6, 3), np.uint8), "wrong size"),
        (np.zeros((12, 16, 3), np.uint8), "wrong size"),
        (np.zeros((6, 8, 3), np.float32), "wrong dtype or shape"),
        (np.zeros((3, 6, 8), np.uint8), "wrong dtype or shape"),
        (np.zeros((6, 8), np.uint8), "wrong dtype or shape"),
        (np.full((6, 8, 3), np.nan, np.float32), "NaN"),
        (np.full((6, 8, 3), np.inf), "NaN or infinity"),
    ],
)
def test_a_wrong_image_is_refused_by_name(image: np.ndarray, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        PREPROCESS.apply(image, name="image/07.png")
    assert caught.value.where == "image/07.png"


def test_a_size_error_names_both_sizes() -> None:
    with pytest.raises(DatasetError) as caught:
        PREPROCESS.apply(np.zeros((6, 9, 3), np.uint8))
    assert caught.value.expected == "height 6, width 8"
    assert caught.value.got == "height 6, width 9"


def test_a_standard_deviation_of_zero_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"std\.1"):
        Preprocess(height=4, width=4, std=(0.2, 0.0, 0.2))
