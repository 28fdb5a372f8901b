"""How a prediction is judged: each metric as a per-image array that is summed over images, then reduced.

Because the arrays add, a bootstrap resamples stored arrays and never touches a prediction again. A kind of task (bundle/tasks/kinds/) names its
metrics: the first gates, the others are those that the field prints beside it; they are reported and gate nothing.

What is undefined is defined here. An image without a single valid pixel contributes zeros. A class that occurs in
neither the labels nor the predictions of any image is left out of the mean. Reducing a sum to which no image
contributed gives NaN. A prediction that is not finite gives an array of NaN, so that no sum hides it.
"""

from abc import abstractmethod
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen
from bundle.tasks.edges import THRESHOLDS, edge_counts
from bundle.tasks.spec import IGNORE, Array

Floats: TypeAlias = NDArray[np.float64]
Direction: TypeAlias = Literal["higher", "lower"]

BETA_SQUARED = 0.3
SALIENCY_THRESHOLDS = 255
MASK_THRESHOLDS = np.linspace(0.2, 0.9, 15)


class Metric(Frozen):
    """A metric of one task: ``per_image`` arrays of ``shape``, summed, then ``reduce``.

    ``name`` is its key in regression.json, ``title`` its name for people and ``unit`` what follows its value, which has
    ``decimals``. ``direction`` is which way is better. A ``slow`` one waits for the end of training.
    """

    name: str
    title: str
    unit: str = ""
    decimals: int = 4
    direction: Direction = "higher"
    slow: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The fixed shape of a per-image array."""
        return (2,)

    @abstractmethod
    def _measure(self, prediction: Array, label: Array) -> Floats:
        """Measure one image; the prediction is finite and of the label's shape."""

    def reduce_many(self, sums: Floats) -> Floats:
        """Map sums float64 ``[R, *shape]`` to metrics float64 ``[R]``; NaN where nothing contributed.

        Of an array ``[2]``, a sum and the number of its terms, it is the mean.
        """
        return ratio(sums[:, 0], sums[:, 1])

    def per_image(self, prediction: Array, label: Array) -> Floats:
        """Measure one image: a prediction (bundle/tasks/postprocess.py) against a decoded label (bundle/tasks/dataset.py).

        Returns float64 of ``shape``; zeros if the label has no valid pixel, NaN if the prediction is not finite.

        Raises:
            DatasetError: the prediction and the label differ in shape.
        """
        if prediction.shape != label.shape:
            raise DatasetError(
                "a prediction and its label differ in shape",
                expected=f"the label's {list(label.shape)}",
                got=str(list(prediction.shape)),
                where=type(self).__name__,
                fix="evaluate at the labels' resolution",
            )
        if not np.isfinite(prediction).all():
            return np.full(self.shape, np.nan)
        return self._measure(prediction, label)

    def reduce(self, total: Floats) -> float:
        """Return the metric of a sum of per-image arrays, float64 of ``shape``; NaN if no image contributed."""
        return float(self.reduce_many(total.reshape(1, *self.shape))[0])


class MeanIou(Metric):
    """Pooled mean intersection over union: per class, pixels of all images; then the mean over classes that occur.

    The array is ``[2, classes]``: intersections, unions. ``empty_class`` (of the kind) names the class that an image
    must not consist of alone. Such an image contributes zeros, as images without people do in human parts.
    """

    name: str = "miou"
    title: str = "mIoU"
    classes: Annotated[int, Field(gt=1, lt=IGNORE)]
    empty_class: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """``[2, classes]``."""
        return (2, self.classes)

    def _measure(self, prediction: Array, label: Array) -> Floats:
        valid = label != IGNORE
        truth, answer = label[valid].astype(np.int64), prediction[valid].astype(np.int64)
        counted = truth if self.empty_class is None else truth[truth != self.empty_class]
        if counted.size == 0:
            return np.zeros(self.shape)
        if max(truth.max(), answer.max()) >= self.classes:
            raise DatasetError(
                "a class number is too large",
                expected=f"0 to {self.classes - 1}, or {IGNORE} in a label",
                got=f"label {truth.max()}, prediction {answer.max()}",
                where="MeanIou",
                fix="check the spec's classes",
            )
        table = np.bincount(truth * self.classes + answer, minlength=self.classes**2).reshape(self.classes, -1)
        intersection = np.diagonal(table)
        return np.stack([intersection, table.sum(axis=0) + table.sum(axis=1) - intersection]).astype(np.float64)

    def reduce_many(self, sums: Floats) -> Floats:
        """Map ``[R, 2, classes]`` to the mean IoU, ``[R]``."""
        intersection, union = sums[:, 0], sums[:, 1]
        occurs = union != 0
        return ratio(ratio(intersection, union, empty=0.0).sum(axis=1), occurs.sum(axis=1))


class MaxF(Metric):
    """The largest F measure over thresholds, β² = 0.3 (Achanta et al. 2009): the standard of salient-object detection.

    Precision and recall at p ≥ k/255, k = 1…255, are means over images; F is taken of the means, then its maximum.
    An image that answers nothing at a threshold has precision 0 there; one without a salient pixel contributes zeros.
    The array is ``[511]``: 255 precisions, 255 recalls, 1 for an image that counts.
    """

    name: str = "max_f"
    title: str = "max F"

    @property
    def shape(self) -> tuple[int, ...]:
        """``[511]``."""
        return (2 * SALIENCY_THRESHOLDS + 1,)

    def _measure(self, prediction: Array, label: Array) -> Floats:
        positives = int(np.count_nonzero(label))
        if positives == 0:
            return np.zeros(self.shape)
        levels = np.floor(np.clip(prediction.astype(np.float32), 0, 1) * SALIENCY_THRESHOLDS).astype(np.int64)
        answered, hits = _at_least(levels.reshape(-1)), _at_least(levels[label != 0])
        return np.concatenate([ratio(hits, answered, empty=0.0), hits / positives, [1.0]])

    def reduce_many(self, sums: Floats) -> Floats:
        """Map ``[R, 511]`` to the largest F measure, ``[R]``."""
        count = sums[:, -1:]
        precision, recall = np.split(ratio(sums[:, :-1], count), 2, axis=1)
        f = ratio((1 + BETA_SQUARED) * precision * recall, BETA_SQUARED * precision + recall, empty=0.0)
        return np.where(count[:, 0] == 0, np.nan, f.max(axis=1))


class MaxThresholdIou(Metric):
    """The largest mean Jaccard index over 15 thresholds, 0.2 to 0.9: the saliency "mIoU" of the multi-task papers.

    A pixel is salient where p > threshold. The index of an image whose label and answer are both empty is 1. The mean
    is over all images. The array is ``[16]``: 15 indices, 1 for the image. Protocol of Maninis et al. (2019).
    """

    name: str = "max_threshold_miou"
    title: str = "max-threshold mIoU"

    @property
    def shape(self) -> tuple[int, ...]:
        """``[16]``."""
        return (len(MASK_THRESHOLDS) + 1,)

    def _measure(self, prediction: Array, label: Array) -> Floats:
        truth = label != 0
        everywhere, salient = _above(prediction), _above(prediction[truth])
        union = everywhere + int(truth.sum()) - salient
        return np.concatenate([ratio(salient, union, empty=1.0), [1.0]])

    def reduce_many(self, sums: Floats) -> Floats:
        """Map ``[R, 16]`` to the largest mean index, ``[R]``."""
        return np.asarray(ratio(sums[:, :-1], sums[:, -1:]).max(axis=1))


class MeanAngularErrorDeg(Metric):
    """The mean angle in degrees between predicted and true normals, over the valid pixels of all images.

    The array is ``[2]``: the sum of angles, the valid pixels. The angle is atan2(|p × t|, p · t), exact near 0 where
    arccos is not. A zero prediction has no direction and counts as 90°.
    """

    name: str = "mean_angular_error_deg"
    title: str = "mean angular error"
    unit: str = "°"
    decimals: int = 3
    direction: Direction = "lower"

    def _measure(self, prediction: Array, label: Array) -> Floats:
        valid = label.any(axis=0)
        angles = angles_deg(prediction[:, valid], label[:, valid])
        return np.array([angles.sum(), valid.sum()], dtype=np.float64)


def angles_deg(prediction: Array, truth: Array) -> Floats:
    """Return the angle between the vectors ``[3, …]`` of two arrays, in degrees ``[…]``; see ``MeanAngularErrorDeg``."""
    p, t = prediction.astype(np.float64), truth.astype(np.float64)
    cross = np.stack([p[1] * t[2] - p[2] * t[1], p[2] * t[0] - p[0] * t[2], p[0] * t[1] - p[1] * t[0]])
    angles = np.degrees(np.arctan2(np.sqrt((cross * cross).sum(axis=0)), (p * t).sum(axis=0)))
    return np.where(p.any(axis=0), angles, 90.0)


class ShareUnderDeg(Metric):
    """The share of valid pixels whose normal is less than ``angle_deg`` off, over all images (Eigen & Fergus 2015).

    The array is ``[2]``: pixels under the angle, valid pixels.
    """

    angle_deg: Annotated[float, Field(gt=0, le=180)]

    def _measure(self, prediction: Array, label: Array) -> Floats:
        valid = label.any(axis=0)
        under = angles_deg(prediction[:, valid], label[:, valid]) < self.angle_deg
        return np.array([under.sum(), under.size], dtype=np.float64)


class RmseM(Metric):
    """The root mean square depth error in metres, over the valid pixels of all images.

    The array is ``[2]``: the sum of squared errors in m², the valid pixels.
    """

    name: str = "rmse_m"
    title: str = "RMSE"
    unit: str = " m"
    direction: Direction = "lower"

    def _measure(self, prediction: Array, label: Array) -> Floats:
        valid = label != 0
        errors = prediction[valid].astype(np.float64) - label[valid].astype(np.float64)
        return np.array([sum_of_products(errors, errors), errors.size], dtype=np.float64)

    def reduce_many(self, sums: Floats) -> Floats:
        """Map ``[R, 2]`` to metres, ``[R]``."""
        return np.sqrt(ratio(sums[:, 0], sums[:, 1]))


class ShareWithinFactor(Metric):
    """The share of valid pixels with max(p/t, t/p) < ``factor`` over all images: the field's δ (Eigen et al. 2014).

    A prediction of 0 m is outside. The array is ``[2]``: pixels within the factor, valid pixels.
    """

    factor: Annotated[float, Field(gt=1)]

    def _measure(self, prediction: Array, label: Array) -> Floats:
        valid = label != 0
        p, t = prediction[valid].astype(np.float64), label[valid].astype(np.float64)
        within = (p < self.factor * t) & (t < self.factor * p)
        return np.array([within.sum(), within.size], dtype=np.float64)


class OdsF(Metric):
    """The edge F measure at the best threshold for all images (ODS), see bundle/tasks/edges.py for the protocol.

    The array is ``[3, 33]``: matched, predicted and labelled edge pixels per threshold. F = 2·matched / (predicted +
    labelled), which is 2PR/(P + R) as the matching is one to one. NaN if no image has an edge in its label.
    """

    name: str = "ods_f"
    title: str = "ODS F"
    slow: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        """``[3, 33]``."""
        return (3, THRESHOLDS)

    def _measure(self, prediction: Array, label: Array) -> Floats:
        return edge_counts(prediction, label)

    def reduce_many(self, sums: Floats) -> Floats:
        """Map ``[R, 3, 33]`` to the largest F measure, ``[R]``."""
        matched, predicted, labelled = sums[:, 0], sums[:, 1], sums[:, 2]
        return np.asarray(ratio(2 * matched, np.where(labelled == 0, 0.0, predicted + labelled)).max(axis=1))


def sum_of_products(one: Floats, other: Floats) -> float:
    """Return Σ one·other of float64 ``[N]``, in one thread: NumPy's ``@`` adds in another order with each number of threads."""
    return float(np.einsum("i,i->", one, other))


def ratio(top: Array, bottom: Array, *, empty: float = float("nan")) -> Floats:
    """Divide in float64; ``empty`` where the divisor is 0. NaN stays NaN."""
    over, under = top.astype(np.float64), bottom.astype(np.float64)
    return np.asarray(np.where(under == 0, empty, over / np.where(under == 0, 1.0, under)), dtype=np.float64)


def _at_least(levels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count, for each k in 1…255, the levels ≥ k."""
    counts = np.bincount(levels, minlength=SALIENCY_THRESHOLDS + 1)
    return np.cumsum(counts[::-1])[::-1][1:].astype(np.int64)


def _above(prediction: Array) -> NDArray[np.int64]:
    """Count, for each of ``MASK_THRESHOLDS``, the pixels above it."""
    ranks = np.searchsorted(MASK_THRESHOLDS, prediction.reshape(-1).astype(np.float64), side="left")
    counts = np.bincount(ranks, minlength=len(MASK_THRESHOLDS) + 1)
    return np.cumsum(counts[::-1])[::-1][1:].astype(np.int64)
