"""The one way an image becomes a model's input, for calibration, evaluation and the device alike."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import DatasetError
from bundle.base.frozen import Frozen
from bundle.base.limits import Positive, Real, Side
from bundle.tasks.dataset import check_image
from bundle.tasks.spec import Array

Mean: TypeAlias = tuple[Real, Real, Real]
Deviation: TypeAlias = tuple[Positive, Positive, Positive]


class Preprocess(Frozen):
    """An RGB image of exactly ``height`` × ``width`` pixels, normalised as (x/255 − mean)/std per channel."""

    height: Side
    width: Side
    mean: Mean = (0.485, 0.456, 0.406)
    std: Deviation = (0.229, 0.224, 0.225)

    def check(self, image: Array, *, name: str = "the image given") -> NDArray[np.uint8]:
        """Return ``image`` if it is uint8 ``[height, width, 3]``.

        Raises:
            DatasetError: another size (nothing is resized), another dtype, or NaN; ``name`` says which image.
        """
        checked = check_image(image, where=name)
        if checked.shape[:2] != (self.height, self.width):
            raise DatasetError(
                "the image has the wrong size",
                expected=f"height {self.height}, width {self.width}",
                got=f"height {checked.shape[0]}, width {checked.shape[1]}",
                where=name,
                fix="declare a size_policy in dataset.json, give tdss predict --fit, resize the image yourself, or build for this size",
            )
        return checked

    def apply(self, image: Array, *, name: str = "the image given") -> NDArray[np.float32]:
        """Return float32 ``[1, 3, height, width]`` of a uint8 ``[height, width, 3]`` image.

        The arithmetic is float32: x times 1/(255·std), minus mean/std.

        Raises:
            DatasetError: as ``check`` raises it.
        """
        checked = self.check(image, name=name)
        scale = (1.0 / (255.0 * np.array(self.std))).astype(np.float32)
        shift = (np.array(self.mean) / np.array(self.std)).astype(np.float32)
        normalised = checked.astype(np.float32) * scale - shift
        return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])
