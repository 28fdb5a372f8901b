"""The contract of a published layout: which ids its splits have, and how one of them becomes an image and its labels."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from bundle.tasks.dataset import Image
from bundle.tasks.spec import Array, DatasetSpec

Ids: TypeAlias = tuple[str, ...]


class Example(NamedTuple):
    """One image of a published data set and its labels by task, each of its own size.

    A label is encoded as the labelled folder stores it, but directions: they are float64 ``[H, W, 3]``, 0 is invalid.
    """

    image: Image
    labels: Mapping[str, Array]


class Layout(NamedTuple):
    """One published layout: its name on the command line, what its numbers become, and its two readers."""

    name: str
    spec: DatasetSpec
    ids: Callable[[Path, str], Ids]
    """Given the root and ``train`` or ``val``."""
    read: Callable[[Path, str, str], Example]
    """Given the root, the split and an id."""


def colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Return the first ``count`` colours of PASCAL VOC's palette: the bits of an index, dealt to red, green and blue."""
    spread = [
        [sum((index >> (3 * bit + band) & 1) << (7 - bit) for bit in range(3)) for band in range(3)]
        for index in range(count)
    ]
    return tuple((red, green, blue) for red, green, blue in spread)
