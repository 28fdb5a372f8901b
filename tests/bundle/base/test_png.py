"""PNG files of ours, read by Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from bundle.base.png import png


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 5, 3), (24, 32, 3)])
def test_colours_are_read_back(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    with Image.open(io.BytesIO(png(picture))) as read:
        assert read.mode == "RGB" and np.array_equal(np.asarray(read), picture)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (24, 32)])
def test_sixteen_bits_are_read_back(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(2).integers(0, 65536, shape, np.uint16)
    with Image.open(io.BytesIO(png(picture))) as read:
        assert read.mode == "I;16" and np.array_equal(np.asarray(read), picture)


def test_smooth_rows_are_stored_small() -> None:
    """The filter is that of the rows above: equal rows are zeros."""
    rows = np.tile(np.random.default_rng(3).integers(0, 256, (1, 200, 3), np.uint8), (100, 1, 1))
    assert len(png(rows)) < 2 * rows[0].nbytes
