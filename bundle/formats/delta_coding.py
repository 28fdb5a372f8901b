"""How arrays of pixels are written so that they deflate well; each encoding has its exact inverse.

plain        as they are: label maps and rendered normals repeat themselves, which deflate sees
difference   the bit pattern's differences along the columns, then the rows, modulo 2ⁿ; of 16 and 32 bits each is
             folded so that small differences of either sign are small numbers (2d, or −2d − 1), and its bytes
             are taken apart, lowest first, as a new first axis
colour       red and blue less green, modulo 256, the three colours as planes, then ``difference``
"""

from typing import Literal, TypeAlias

import numpy as np

from bundle.tasks.spec import Array

Encoding: TypeAlias = Literal["plain", "difference", "colour"]


def encode(pixels: Array, encoding: Encoding, row_axis: int) -> Array:
    """Return an image's array as it is written; ``row_axis`` is the axis of its rows, columns follow."""
    if encoding == "plain":
        return pixels
    if encoding == "difference":
        return difference(pixels, row_axis)
    red, green, blue = pixels.astype(np.uint8, copy=False).transpose(2, 0, 1)
    return difference(np.stack([red - green, green, blue - green]), 1)


def decode(stored: Array, dtype: "np.dtype[np.generic]", encoding: Encoding, row_axis: int) -> Array:
    """Return the array of ``dtype`` whose ``encode`` is ``stored``."""
    if encoding == "plain":
        return stored.view(dtype)
    if encoding == "difference":
        return restore(stored, dtype, row_axis)
    red, green, blue = restore(stored, dtype, 1).astype(np.uint8, copy=False)
    return np.stack([red + green, green, blue + green], axis=-1)


def difference(pixels: Array, row_axis: int) -> Array:
    """Return the differences of an array's bits; of more than 8 bits folded, as bytes ``[2 or 4, …]``."""
    bits = np.ascontiguousarray(pixels).view(f"<u{pixels.dtype.itemsize}")
    for axis in (row_axis + 1, row_axis):
        bits = np.diff(bits, axis=axis, prepend=np.zeros_like(bits.take([0], axis=axis)))
    if bits.dtype.itemsize == 1:
        return bits
    folded = np.where(bits >> (8 * bits.dtype.itemsize - 1), ~(bits << 1), bits << 1)
    return np.ascontiguousarray(np.moveaxis(folded[..., None].view(np.uint8), -1, 0))


def restore(stored: Array, dtype: "np.dtype[np.generic]", row_axis: int) -> Array:
    """Return the array of ``dtype`` whose ``difference`` is ``stored``."""
    bits: Array = stored.view(np.uint8)
    if dtype.itemsize > 1:
        folded = np.ascontiguousarray(np.moveaxis(stored, 0, -1)).view(f"<u{dtype.itemsize}")[..., 0]
        bits = np.where(folded & 1, ~(folded >> 1), folded >> 1)
    for axis in (row_axis, row_axis + 1):
        bits = np.add.accumulate(bits, axis=axis, dtype=bits.dtype)
    return bits.view(dtype)
