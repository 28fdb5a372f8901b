"""The contract of a kind: how a raw output becomes a prediction, how a label is read, and how two predictions compare.

A kind is a class in a file of this folder. A row of bundle/tasks/table.py names it, and nothing else does. What needs
PyTorch (the loss, the operators in a graph, the augmentation of labels) is in the module that ``tensors`` names.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen
from bundle.tasks import published_resize
from bundle.tasks.agreement import Floats, RelativeRmse
from bundle.tasks.kinds.colours import Inks, Palette, Rgb, ramp
from bundle.tasks.metrics import Metric
from bundle.tasks.resize import Size, nearest, smooth
from bundle.tasks.spec import Array, DatasetSpec


class Kind(Frozen):
    """A kind of task; its fields are what a task may choose. A prediction is ``[*axes, H, W]`` of ``dtype``."""

    tensors: ClassVar[str]
    """The module with the class ``<kind>Tensors`` (tdss/kinds/tensor_kind.py)."""

    forms: ClassVar[tuple[str, ...]]
    """What an output of a network of another origin may hold for this kind (compile/networks/description.py)."""

    channels: ClassVar[int | None]
    """Channels of the raw output; None: one per class of the data set."""
    axes: ClassVar[tuple[int, ...]] = ()
    dtype: ClassVar[str] = "float32"

    label_modes: ClassVar[tuple[str, ...]] = ("L",)
    """Pillow's modes of a label's PNG file."""
    label_dtype: ClassVar[type[np.generic]] = np.uint8
    label_axes: ClassVar[tuple[int, ...]] = ()
    """An encoded label is ``[H, W, *label_axes]``."""

    values: ClassVar[tuple[str, ...]] = ("valid",)
    """What ``pixels`` counts; (): the classes of the data set."""

    stored: ClassVar[type[np.generic]]
    scale: ClassVar[float] = 1.0
    """A stored prediction is ``scale`` times as large, in the dtype ``stored``."""
    all_pixels: ClassVar[bool] = False
    """Whether a prediction is stored at every pixel, or at every fourth row and column."""

    agreement_floor: ClassVar[float]
    """Swapped outputs, a flipped image or a forgotten activation give less; INT8 within its budget does not."""
    unseen: ClassVar[int] = 0
    """What a prediction holds where the model saw nothing of the image (bundle/tasks/fit.py)."""
    in_metres: ClassVar[bool] = False
    """Whether a prediction ``[H, W]`` is a distance in metres."""
    change_unit: ClassVar[str]
    change_words: ClassVar[tuple[float, str]]
    """How a mean change is written: a factor, and what follows the number."""
    change_scale: ClassVar[tuple[float, str]]
    """The change that has the brightest colour, as a number and in words."""
    drawn: ClassVar[str] = ""
    """What the colours of a picture mean, for its legend."""

    agreement_budget: ClassVar[float] = 0.05
    """The largest tolerated drop of ``agreement_metric``."""

    empty_class: int | None = None
    """An image that shows this class alone does not count (no people: no parts)."""

    @abstractmethod
    def figures(self, channels: int) -> tuple[Metric, ...]:
        """Return the metrics of an output with ``channels`` channels: the one that a budget gates, then the reported ones."""

    def agreement_metric(self, channels: int) -> Metric:
        """Return the metric of a task without labels, which compares a prediction with the reference's own."""
        return RelativeRmse()

    @abstractmethod
    def predict(self, raw: NDArray[np.float32]) -> Array:
        """Return the prediction of one image's raw output ``[C, H, W]``, which is finite."""

    @abstractmethod
    def decode(self, encoded: Array, spec: DatasetSpec) -> Array:
        """Return what a metric compares with a prediction, of its shape, from a checked encoded label."""

    @abstractmethod
    def agreement(self, reference: Array, prediction: Array) -> float:
        """Return how alike two predictions are, 0…1, over all pixels."""

    def change(self, reference: Array, prediction: Array) -> Floats:
        """Return by how much two predictions differ at each pixel, ``[H, W]`` in ``change_unit``: |Δ| of numbers."""
        return np.asarray(np.abs(reference.astype(np.float64) - prediction.astype(np.float64)))

    def label_values(self, channels: int, spec: DatasetSpec) -> NDArray[np.int64] | None:
        """Return the values that an encoded label may hold; None: all of its dtype."""
        return None

    def pixels(self, encoded: Array, channels: int, spec: DatasetSpec) -> NDArray[np.int64]:
        """Return how many pixels of a checked encoded label have each of ``values``: here, how many are not 0."""
        return np.array([np.count_nonzero(encoded.reshape(*encoded.shape[:2], -1).any(axis=2))])

    def float_unit(self, spec: DatasetSpec) -> float | None:
        """Return one step of an encoded label in the unit of a file of floats; None: no such file is a label."""
        return None

    def traits(self, encoded: Array, spec: DatasetSpec) -> Floats:
        """Return figures of a checked encoded label that has a valid pixel: a wrong unit or axis shows in their mean."""
        return np.zeros(0)

    def doubts(self, traits: Floats) -> Iterator[str]:
        """Yield what looks wrong in the mean traits of many labels; none of it is an error for sure."""
        yield from ()

    def resized(self, encoded: Array, size: Size) -> Array:
        """Return a checked encoded label at another size: here, of the nearest pixels."""
        return nearest(encoded, size)

    def resized_as_published(self, encoded: Array, size: Size) -> Array:
        """Return a checked encoded label at another size, by the rules of published evaluation code."""
        return published_resize.nearest(encoded, size)

    def restored(self, prediction: Array, size: Size) -> Array:
        """Return a prediction ``[*axes, H, W]`` at another size: here, linear between pixels."""
        moved = np.moveaxis(smooth(np.moveaxis(prediction, (-2, -1), (0, 1)), size), (0, 1), (-2, -1))
        return np.ascontiguousarray(moved, dtype=np.float32)

    def void(self, spec: DatasetSpec) -> int:
        """Return what an encoded label holds where nothing is labelled."""
        return 0

    def out_of_range(self, prediction: Array, channels: int) -> tuple[str, str] | None:
        """Return what was expected and what came, if a graph's own prediction holds a value that means nothing."""
        return None

    def compact(self, prediction: Array) -> Array:
        """Return a prediction as it is stored."""
        scaled = prediction.astype(np.float32, copy=False) * np.float32(self.scale)
        return np.asarray(np.rint(scaled).astype(self.stored))

    def expand(self, stored: Array) -> Array:
        """Return a stored prediction as ``predict`` gives it: the inverse of ``compact`` up to rounding."""
        return np.asarray(stored.astype(np.float32) / np.float32(self.scale))

    def pseudo_label(self, prediction: Array, predictions: Sequence[Array]) -> Array:
        """Return a prediction as a label; ``predictions`` are those of all images."""
        return prediction

    def natural_error(self, predictions: Sequence[Array]) -> float:
        """Return a scale for an error where lower is better and no error is known: the root mean square."""
        return float(np.sqrt(np.mean(np.square(np.stack(predictions).astype(np.float64))))) or 1.0

    def trivial(self, labels: Iterable[Array]) -> Array | None:
        """Return the best constant prediction for decoded labels; None: a constant says nothing."""
        return None

    def inks(self, palette: Palette, values: Array) -> Inks:
        """Return the colours for all pictures of the image whose decoded label or prediction is ``values``."""
        return Inks(palette=palette)

    def span(self, inks: Inks) -> str:
        """Say which values the colours span; "" where it is the same for every image."""
        return ""

    def draw(self, values: Array, inks: Inks) -> Rgb:
        """Draw a prediction or a decoded label ``[*axes, H, W]`` as uint8 RGB ``[H, W, 3]``.

        Raises:
            DatasetError: the values have other axes, or a class has no colour.
        """
        if values.ndim != len(self.axes) + 2:
            raise DatasetError(
                f"this is no map of the kind {type(self).__name__}",
                expected=f"{len(self.axes) + 2} axes",
                got=f"shape {values.shape}",
                where="draw",
                fix="draw one image at a time, after bundle.tasks.postprocess.predict",
            )
        return self._draw(values, inks)

    @abstractmethod
    def _draw(self, values: Array, inks: Inks) -> Rgb:
        """Draw values of the kind's axes; pixels without a value get a colour that no value has."""

    def draw_change(self, before: Array, after: Array) -> Rgb:
        """Draw ``change`` as uint8 RGB ``[H, W, 3]``, brightest at ``change_scale``."""
        return ramp(self.change(before, after) / self.change_scale[0])


def mean_label(labels: Iterable[Array]) -> tuple[Floats, tuple[int, ...]]:
    """Return the mean of the pixels that are not 0 of decoded labels ``[C, H, W]``, float64 ``[C]``, and the last label's H, W."""
    total, count, size = np.zeros(1), 0, (0, 0)
    for label in labels:
        valid = label.any(axis=0)
        total = total + label[:, valid].sum(axis=1, dtype=np.float64)
        count, size = count + int(valid.sum()), valid.shape
    return total / max(count, 1), size
