"""Views against what geometry and torch say."""

import colorsys

import pytest
import torch
from torch.nn import functional

from tdss.backbones.config import ImageConfig
from tdss.kinds.tensor_kind import view_labels
from tdss.training import augment
from tdss.training.config import AugmentConfig
from tdss.training.data import generator

IMAGE = ImageConfig(height=8, width=8)


def test_labels_follow_the_image() -> None:
    """An image that shows its label stays equal to it under any crop of nearest pixels and any flip."""
    label = torch.arange(64, dtype=torch.uint8).view(1, 8, 8)
    boxes, flips = [[2, 1, 4, 4]], [True]
    got = view_labels(label, boxes, flips)[0]
    expected = functional.interpolate(label[:, None, 2:6, 1:5].float(), (8, 8), mode="nearest-exact")[0, 0].flip(-1)
    torch.testing.assert_close(got.float(), expected)
    image = augment.view_images(label[:, None].expand(1, 3, 8, 8).contiguous(), boxes, flips)[0, 0]
    assert (image.float() - expected).abs().max().item() <= 5  # bilinear between neighbours that differ by 8


def test_colour_without_strength_is_the_normalisation() -> None:
    matrix, shift = augment.colour(2, IMAGE, AugmentConfig(), generator(0, 0, 0))
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGE.mean, IMAGE.std))
    torch.testing.assert_close(augment.recolour(pixels, matrix, shift), (pixels / 255 - mean) / std, atol=1e-5, rtol=0)


def test_saturation_keeps_the_luma_and_scales_the_chroma() -> None:
    config = AugmentConfig(saturation=0.5)
    plain = ImageConfig(height=8, width=8, mean=(0, 0, 0), std=(1, 1, 1))
    matrix, shift = augment.colour(1, plain, config, generator(1, 2, 3))
    pixel = torch.tensor([200, 90, 40], dtype=torch.uint8).view(1, 3, 1, 1)
    before, after = (pixel / 255).flatten().tolist(), augment.recolour(pixel, matrix, shift).flatten().tolist()
    (y0, i0, q0), (y1, i1, q1) = (colorsys.rgb_to_yiq(*rgb) for rgb in (before, after))
    assert y1 == pytest.approx(y0, abs=2e-3)  # colorsys rounds the luma weights to two digits
    assert i1 / i0 == pytest.approx(q1 / q0, abs=0.05)
    assert 0.5 <= i1 / i0 <= 1.5


def test_crops_lie_inside_and_respect_the_scale() -> None:
    config = AugmentConfig(scale=0.5, stretch=0.3)
    for top, left, rows, columns in augment.crops(200, 64, 48, config, generator(0, 0, 0)):
        assert top >= 0 and left >= 0 and top + rows <= 64 and left + columns <= 48
        assert rows >= 0.4 * 64 and columns >= 0.4 * 48
    assert augment.crops(1, 64, 48, AugmentConfig(zoom=0.0, scale=0.5), generator(0, 0, 0)) == [[0, 0, 64, 48]]


def test_paste_takes_the_rectangle_of_the_next_sample_and_nothing_else() -> None:
    config = AugmentConfig(paste=1.0)
    boxes = augment.pastes(3, 40, 30, config, generator(0, 0, 0))
    batch = torch.arange(3.0)[:, None, None, None].expand(3, 2, 40, 30)
    for index, (row, box) in enumerate(zip(augment.paste(batch, boxes), boxes, strict=True)):
        assert box is not None
        _, _, rows, columns = box
        assert 0.2 * 1200 <= rows * columns <= 0.55 * 1200
        assert (row == (index + 1) % 3).sum() == 2 * rows * columns
        assert (row == index).sum() == 2 * (1200 - rows * columns)


def test_pastes_are_as_frequent_as_asked() -> None:
    boxes = augment.pastes(2000, 40, 30, AugmentConfig(paste=0.25), generator(3, 0, 0))
    assert 0.2 < sum(box is not None for box in boxes) / len(boxes) < 0.3
