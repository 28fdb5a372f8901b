"""The contract of the decoders: one joint object over the features of all tasks."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from tdss.adapters.base import TaskFeatures
from tdss.backbones.config import StageShape
from tdss.part import Part

AUXILIARY = "@"
"""In training mode a decoder may also give outputs named ``TASK@NAME``: each is trained as the task is. No export has them."""


class Sizes(NamedTuple):
    """What decoders are made for: the features' shapes by stage, the tasks' channels, and the image's (height, width)."""

    stages: tuple[StageShape, ...]
    tasks: Mapping[str, int]
    image: tuple[int, int]


class Decoders(nn.Module, Part):
    """Maps every task's features to raw outputs ``[batch, channels, *image]``, in the order of the model's tasks.

    It is made of its configuration and ``Sizes``. A task's decoder may read the other tasks' features.
    """

    @abstractmethod
    def forward(self, features: TaskFeatures) -> dict[str, Tensor]:
        """Answer every task."""

    def needed(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Return the tasks whose features the outputs of ``tasks`` are computed from; those stay when others go."""
        return tuple(tasks)
