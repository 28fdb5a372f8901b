"""A direction per pixel: three channels divided by their length, float32 ``[3, H, W]``; (0, 0, 0) in a label is invalid."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.tasks.agreement import Floats, MeanAngle
from bundle.tasks.kinds.colours import INVALID_COLOUR, Inks, Rgb
from bundle.tasks.kinds.kind import Kind, mean_label
from bundle.tasks.metrics import MeanAngularErrorDeg, Metric, ShareUnderDeg, angles_deg
from bundle.tasks.published_resize import cubic, encode_directions, unit
from bundle.tasks.resize import Size, nearest, smooth
from bundle.tasks.spec import Array, DatasetSpec

RADIAN_DEG = 57.3
REVERSED = 0.05  # a smaller mean difference between halves of an image says nothing


class UnitVector(Kind):
    """Encoded label: uint8 ``[H, W, 3]``, (n + 1)·127.5, (0, 0, 0) = invalid."""

    tensors = "tdss.kinds.unit_vector"
    forms = ("vector",)
    channels = 3
    axes = (3,)
    label_modes = ("RGB",)
    label_axes = (3,)
    stored = np.int8
    scale = 127
    agreement_floor = 0.9
    change_unit = "degrees"
    change_words = (1.0, "° mean angle")
    change_scale = (10.0, "10° or more")
    drawn = "red to the right, green up, blue toward the camera, black is not labelled"

    def figures(self, channels: int) -> tuple[Metric, ...]:
        """Return the mean angular error, and the shares under three angles."""
        shares = (
            ShareUnderDeg(name=f"share_under_{angle:g}_deg", title=f"share < {angle:g}°", angle_deg=angle)
            for angle in (11.25, 22.5, 30.0)
        )
        return (MeanAngularErrorDeg(), *shares)

    def agreement_metric(self, channels: int) -> Metric:
        """Return the agreement by the mean angle between the two directions."""
        return MeanAngle()

    def predict(self, raw: NDArray[np.float32]) -> Array:
        """Return vectors of length 1; a zero vector stays zero."""
        length = np.sqrt((raw.astype(np.float64) ** 2).sum(axis=0))
        return (raw / np.where(length > 0, length, 1.0)).astype(np.float32)

    def decode(self, encoded: Array, spec: DatasetSpec) -> Array:
        """Return float32 ``[3, H, W]`` unit vectors, (0, 0, 0) = invalid."""
        vectors = encoded.transpose(2, 0, 1).astype(np.float32) / np.float32(127.5) - np.float32(1)
        length = np.sqrt((vectors * vectors).sum(axis=0, keepdims=True))  # never 0: 127.5 is no byte
        return np.asarray(np.where(encoded.any(axis=2), vectors / length, np.float32(0)), dtype=np.float32)

    def resized(self, encoded: Array, size: Size) -> Array:
        """Return the directions of the means of valid vectors, invalid where the nearest pixel is."""
        valid = np.asarray(encoded.any(axis=2, keepdims=True))
        mean = smooth(np.where(valid, encoded.astype(np.float64) / 127.5 - 1, 0.0), size)
        return encode_directions(np.where(nearest(valid, size), unit(mean), 0.0))

    def resized_as_published(self, encoded: Array, size: Size) -> Array:
        """Return the directions of cubic means, in which an invalid vector is zero; what is zero then is invalid."""
        vectors = np.where(encoded.any(axis=2, keepdims=True), encoded.astype(np.float64) / 127.5 - 1, 0.0)
        return encode_directions(unit(cubic(vectors, size)))

    def restored(self, prediction: Array, size: Size) -> Array:
        """Return the directions of the vectors between the pixels."""
        return self.predict(super().restored(prediction, size).astype(np.float32, copy=False))

    def traits(self, encoded: Array, spec: DatasetSpec) -> Floats:
        """Return shares of the valid pixels, and two differences between halves of the image.

        The shares are those shorter than a half before they get length 1, and those that point away from the camera. The
        differences are y below less y above, and x at the left less x at the right. Walls, floors and ceilings that are
        seen point inward, so both are positive.
        """
        valid = np.asarray(encoded.any(axis=2))
        raw = encoded.astype(np.float64) / 127.5 - 1
        short = np.sqrt((raw[valid] ** 2).sum(axis=1)) < 0.5
        rows, columns = (size // 2 for size in valid.shape)
        below = _mean(raw[rows:, :, 1], valid[rows:]) - _mean(raw[:rows, :, 1], valid[:rows])
        left = _mean(raw[:, :columns, 0], valid[:, :columns]) - _mean(raw[:, columns:, 0], valid[:, columns:])
        return np.array([short.mean(), (raw[valid][:, 2] < 0).mean(), below, left])

    def doubts(self, traits: Floats) -> Iterator[str]:
        """Yield the axes that look reversed, and an invalid value that is not (0, 0, 0)."""
        short, away, below, left = traits
        if short > 0.01:
            yield f"{short:.0%} of the normals have no length: invalid may be stored as grey, not as (0, 0, 0)"
        if away > 0.5:
            yield f"{away:.0%} of the normals point away from the camera: z may be reversed"
        if below < -REVERSED:
            yield "floors point down and ceilings up: y may be reversed"
        if left < -REVERSED:
            yield "walls at the left point left and walls at the right point right: x may be reversed"

    def agreement(self, reference: Array, prediction: Array) -> float:
        """Return the mean cosine, within 0…1."""
        return float(np.clip((reference.astype(np.float64) * prediction.astype(np.float64)).sum(axis=0).mean(), 0, 1))

    def change(self, reference: Array, prediction: Array) -> Floats:
        """Return the angle in degrees; a prediction without a direction is 90° off."""
        return angles_deg(prediction, reference)

    def natural_error(self, predictions: Sequence[Array]) -> float:
        """Return a radian in degrees."""
        return RADIAN_DEG

    def trivial(self, labels: Iterable[Array]) -> Array:
        """Return the direction of the mean over valid pixels, at every pixel."""
        mean, size = mean_label(labels)
        mean = mean / np.linalg.norm(mean)
        return np.broadcast_to(mean[:, None, None], (3, *size)).astype(np.float32)

    def _draw(self, values: Array, inks: Inks) -> Rgb:
        """Draw as RGB = (n + 1)·127.5; an invalid pixel is black."""
        floats = values.astype(np.float64)
        picture = ((np.clip(floats, -1.0, 1.0) + 1.0) * 127.5).round().astype(np.uint8).transpose(1, 2, 0)
        picture[~floats.any(axis=0)] = INVALID_COLOUR
        return np.ascontiguousarray(picture)


def _mean(values: Floats, valid: NDArray[np.bool_]) -> float:
    return float(values[valid].mean()) if valid.any() else 0.0
