"""What every drop is measured against: a model that answers an image with its raw outputs, in float32."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bundle.tasks.dataset import Image


class ReferenceModel(Protocol):
    """A checkpoint in eager PyTorch (compile/evaluation/eager.py), or a network as it was given (compile/networks/reference.py)."""

    @property
    def tasks(self) -> Mapping[str, int]:
        """The output channels of each task."""

    def run(self, image: Image, *, name: str) -> Mapping[str, NDArray[np.float32]]:
        """Return the raw output of each task, float32 ``[C, H, W]``, for a uint8 image ``[H, W, 3]``."""
