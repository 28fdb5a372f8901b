"""An image of any size, and its labels, at the size that a model takes: the policy is declared in ``dataset.json``.

    stretch     all of the image, its ratio changed
    letterbox   all of the image, its ratio kept, in the middle of black
    crop        the largest part in the middle that has the model's ratio
    pad         the image as it is, in the middle of black; a larger one is refused
    as-published, clipped    as stretch, by the rules of published evaluation code (bundle/tasks/published_resize.py)

Labels follow. Around them nothing counts: a class is ignored, a direction and a depth are invalid. A probability has no
such value, so it is negative there.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bundle.base.errors import DatasetError
from bundle.tasks.published_resize import resize_image
from bundle.tasks.resize import Array, Size, smooth
from bundle.tasks.spec import OVERSHOOTS, DatasetSpec, SizePolicy
from bundle.tasks.table import Task


class Box(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def boxes(own: Size, size: Size, policy: SizePolicy, *, where: str) -> tuple[Box, Box]:
    """Return which part of an image of size ``own`` becomes which part of one of ``size``.

    Raises:
        DatasetError: the policy is ``pad`` and the image is larger than the model's; ``where`` names it.
    """
    whole, target = Box(0, 0, *own), Box(0, 0, *size)
    ratios = [side / length for side, length in zip(own, size, strict=True)]
    if policy == "crop":
        return _middle(_scaled(size, min(ratios), own), own), target
    if policy == "letterbox":
        return whole, _middle(_scaled(own, 1 / max(ratios), size), size)
    if policy == "pad":
        if max(ratios) > 1:
            raise _too_large(own, size, where)
        return whole, _middle(own, size)
    return whole, target


def _scaled(size: Size, factor: float, most: Size) -> Size:
    height, width = (min(max(int(side * factor + 0.5), 1), top) for side, top in zip(size, most, strict=True))
    return height, width


def _middle(inner: Size, outer: Size) -> Box:
    return Box((outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2, *inner)


def fit_image(image: Array, size: Size, policy: SizePolicy, *, where: str) -> Array:
    """Return a uint8 image ``[H, W, 3]`` at ``size``; raises as ``boxes`` does."""

    def resized(part: Array, to: Size) -> Array:
        if policy == "as-published" or policy == "clipped":
            return resize_image(part, to, policy)
        return np.rint(smooth(part, to)).astype(np.uint8)

    return _fit(image, size, policy, resized, 0, where)


def fit_label(row: Task, encoded: Array, spec: DatasetSpec, size: Size, policy: SizePolicy, *, where: str) -> Array:
    """Return a checked encoded label at ``size``; raises as ``boxes`` does."""
    resized = row.kind.resized_as_published if policy in OVERSHOOTS else row.kind.resized
    return _fit(encoded, size, policy, resized, row.kind.void(spec), where)


def judged(row: Task, prediction: Array, encoded: Array, spec: DatasetSpec) -> tuple[Array, Array]:
    """Return a prediction of the model's size and a checked encoded label as a metric compares them, at the label's size.

    A label of the image's own size gets the prediction that ``restore`` maps back. What a crop leaves out is cut off both.
    """
    label = row.kind.decode(encoded, spec)
    own, size = (label.shape[-2], label.shape[-1]), (prediction.shape[-2], prediction.shape[-1])
    if own == size or spec.size_policy is None:
        return prediction, label
    seen, _ = boxes(own, size, spec.size_policy, where=row.name)
    return restore(row, prediction, own, spec.size_policy)[(..., *seen.slices)], label[(..., *seen.slices)]


def restore(row: Task, prediction: Array, own: Size, policy: SizePolicy | None) -> Array:
    """Return a prediction ``[*axes, H, W]`` at the size ``own`` of the image that ``fit_image`` made the model's.

    A pixel of the image that the model did not see holds the kind's ``unseen``. What was around the image is cut off.

    Raises:
        DatasetError: the policy is ``pad`` and the image is larger than the model's.
    """
    size = (prediction.shape[-2], prediction.shape[-1])
    if policy is None or own == size:
        return prediction
    seen, held = boxes(own, size, policy, where=row.name)
    part = prediction[(..., *held.slices)]
    if (seen.height, seen.width) != (held.height, held.width):
        part = row.kind.restored(part, (seen.height, seen.width))
    if (seen.height, seen.width) == own:
        return np.ascontiguousarray(part)
    result = np.full((*part.shape[:-2], *own), row.kind.unseen, dtype=part.dtype)
    result[(..., *seen.slices)] = part
    return result


def _fit(
    values: Array, size: Size, policy: SizePolicy, resize: Callable[[Array, Size], Array], around: int, where: str
) -> Array:
    own = (values.shape[0], values.shape[1])
    if own == size:
        return values
    source, target = boxes(own, size, policy, where=where)
    part = values[source.slices]
    if part.shape[:2] != (target.height, target.width):
        part = resize(part, (target.height, target.width))
    if (target.height, target.width) == size:
        return np.ascontiguousarray(part)
    result = np.full((*size, *values.shape[2:]), around, dtype=values.dtype)
    result[target.slices] = part
    return result


def _too_large(own: Size, size: Size, where: str) -> DatasetError:
    return DatasetError(
        "the image is larger than the model's, and the policy is to pad it",
        expected=f"at most height {size[0]}, width {size[1]}",
        got=f"height {own[0]}, width {own[1]}",
        where=where,
        fix="declare another size_policy in dataset.json, letterbox for example, or make the image smaller",
    )
