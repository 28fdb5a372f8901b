"""The ways of writing pixels: exactly reversible, and worth it."""

import zlib

import numpy as np
import pytest

from bundle.formats.delta_coding import decode, difference, encode, restore


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "float16", "float32"])
@pytest.mark.parametrize(("shape", "row_axis"), [((5, 7), 0), ((5, 7, 3), 0), ((3, 5, 7), 1), ((1, 1), 0)])
def test_differences_are_reversible_for_any_bits(dtype: str, shape: tuple[int, ...], row_axis: int) -> None:
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    pixels = np.frombuffer(np.random.default_rng(0).bytes(size), kind).reshape(shape)  # NaNs, infinities, both zeros
    back = restore(difference(pixels, row_axis), kind, row_axis)
    assert (back.dtype, back.shape, back.tobytes()) == (pixels.dtype, pixels.shape, pixels.tobytes())


@pytest.mark.parametrize("way", ["plain", "difference", "colour"])
def test_every_way_is_reversible_for_images(way: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    stored = encode(image, way, 0)  # type: ignore[arg-type]
    back = decode(stored, image.dtype, way, 0)  # type: ignore[arg-type]
    np.testing.assert_array_equal(back, image, strict=True)
    assert stored.dtype == np.uint8 and back.flags["C_CONTIGUOUS"]


def test_a_ramp_becomes_zeros() -> None:
    ramp = (np.arange(20)[:, None] * 3 + np.arange(30) * 5).astype(np.uint16)
    stored = difference(ramp, 0)
    assert stored.shape == (2, 20, 30)
    assert np.count_nonzero(stored) == 29 + 19  # the steps of the first row and the first column


def test_small_differences_of_either_sign_are_small_numbers() -> None:
    steps = np.array([[0, 1, -1, 2, -2]], dtype=np.int16).cumsum(axis=1, dtype=np.int16).view(np.uint16)
    assert difference(steps, 0)[0].tolist() == [[0, 2, 1, 4, 3]]


def test_grey_noise_costs_less_as_a_colour_image() -> None:
    grey = np.random.default_rng(2).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    image = np.repeat(grey, 3, axis=2)
    sizes = {way: len(zlib.compress(encode(image, way, 0).tobytes())) for way in ("difference", "colour")}  # type: ignore[arg-type]
    assert sizes["colour"] < 0.7 * sizes["difference"]
