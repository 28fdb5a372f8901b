"""Pictures of one frame: colours over the image, and all pictures side by side."""

from collections.abc import Sequence
from math import ceil, isqrt

import numpy as np

from bundle.tasks.kinds.colours import Rgb
from bundle.tasks.resize import smooth

SHEET_WIDTH = 1920  # pixels that a sheet has at most, where a picture of one pixel fits
GAP = 4  # white pixels between the pictures of a sheet


def overlay(image: Rgb, colours: Rgb, alpha: float) -> Rgb:
    """Return ``colours`` over ``image``, both uint8 ``[H, W, 3]``: alpha · colours + (1 − alpha) · image, rounded."""
    mixed = np.float32(alpha) * colours + np.float32(1 - alpha) * image
    return np.rint(mixed).astype(np.uint8)


def sheet(pictures: Sequence[Rgb]) -> Rgb:
    """Return pictures of one size, uint8 ``[H, W, 3]``, row by row on white, no more rows than columns.

    They are made smaller where the sheet would be wider than ``SHEET_WIDTH``.
    """
    rows = isqrt(len(pictures))
    columns = ceil(len(pictures) / rows)
    height, width = pictures[0].shape[:2]
    most = max((SHEET_WIDTH + GAP) // columns - GAP, 1)
    if width > most:
        size = (max(round(height * most / width), 1), most)
        pictures = [np.rint(smooth(picture, size)).astype(np.uint8) for picture in pictures]
        height, width = size
    whole = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        whole[top : top + height, left : left + width] = picture
    return whole
