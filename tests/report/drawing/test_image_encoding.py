import base64
import io

import numpy as np
import pytest
from PIL import Image

from report.drawing.image_encoding import FEW_COLOURS, address, jpeg, jpeg_address, png, png_address, resized, written

GENERATOR = np.random.default_rng(3)


@pytest.mark.slow
@pytest.mark.parametrize("colours", [1, 2, 200, 256, 257, 5000])
def test_png_keeps_every_pixel(colours: int) -> None:
    table = GENERATOR.permutation(1 << 24)[:colours]
    picked = np.concatenate([table, GENERATOR.choice(table, 80 * 90 - colours)]).reshape(80, 90)
    picture = np.stack([picked >> 16, picked >> 8 & 255, picked & 255], axis=-1).astype(np.uint8)
    image = Image.open(io.BytesIO(png(picture)))
    assert image.mode == ("P" if colours <= 256 else "RGB")
    assert np.array_equal(np.asarray(image.convert("RGB")), picture)


def test_addresses_are_data() -> None:
    picture = np.full((8, 8, 3), (200, 30, 40), np.uint8)
    kind, _, data = png_address(picture).partition(",")
    assert kind == "data:image/png;base64" and base64.b64decode(data) == png(picture)
    kind, _, data = jpeg_address(picture).partition(",")
    photo = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert kind == "data:image/jpeg;base64" and np.abs(photo.astype(int) - picture).max() < 4


def test_a_picture_is_resized_in_proportion() -> None:
    picture = GENERATOR.integers(0, 255, (30, 40, 3), np.uint8)
    assert resized(picture, 20).shape == (15, 20, 3)
    assert resized(picture, 40) is picture


def test_text_is_black_on_white_and_differs() -> None:
    tiles = [written(text, 90, 20) for text in ("depth", "edge", "")]
    assert [tile.shape for tile in tiles] == [(20, 90, 3)] * 3
    assert tiles[0].min() < 100 and tiles[2].min() == 255 and not np.array_equal(tiles[0], tiles[1])


def test_a_map_of_few_colours_keeps_every_pixel_and_a_smooth_one_is_small() -> None:
    few = (np.arange(64 * 64).reshape(64, 64, 1) % FEW_COLOURS * np.ones(3)).astype(np.uint8)
    assert address(few) == png_address(few)
    rows, columns = np.mgrid[:64, :64]
    smooth = np.stack([4 * rows, 4 * columns, 2 * (rows + columns)], axis=-1).astype(np.uint8)
    smooth = np.clip(smooth + GENERATOR.integers(0, 3, smooth.shape), 0, 255).astype(np.uint8)
    assert address(smooth) == jpeg_address(smooth) and len(address(smooth)) < len(png_address(smooth)) / 2


def test_noise_of_any_size_becomes_a_jpeg() -> None:
    """Noise at every pixel's colours takes more than a byte a pixel, which Pillow's optimizing encoder has no buffer for."""
    noise = np.random.default_rng(0).integers(0, 256, (280, 336, 3)).astype(np.uint8)
    content = jpeg(noise)
    assert len(content) > 280 * 336
    assert Image.open(io.BytesIO(content)).size == (336, 280)
