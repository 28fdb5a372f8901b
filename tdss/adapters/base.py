"""The contract of an adapter: what it reads from the backbone and what each task's decoder gets."""

from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor, nn

from tdss.backbones.base import StageTap

TaskFeatures: TypeAlias = dict[str, Tensor]


class Adapter(nn.Module):
    """Maps the backbone's taps to one feature map per task and stage.

    ``forward(taps)`` returns, per stage, a dict from task to ``[batch, height, width, channels]`` with the
    stage's own size and width. The generic stream is never modified, so it runs once for any number of tasks.
    """

    tasks: tuple[str, ...]

    def forward(self, taps: Sequence[StageTap]) -> tuple[TaskFeatures, ...]:
        """Adapt every stage for every task."""
        raise TypeError(f"{type(self).__name__} does not say how it adapts")  # a subclass must

    def keep(self, tasks: Sequence[str]) -> None:
        """Answer ``tasks`` only, in place, and drop every weight that only other tasks need; what is kept is unchanged."""
        self.tasks = tuple(tasks)


class NoAdapter(Adapter):
    """Every task reads the backbone's own stages."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def forward(self, taps: Sequence[StageTap]) -> tuple[TaskFeatures, ...]:
        """Return each stage's output for every task, as it is."""
        return tuple(dict.fromkeys(self.tasks, tap.output) for tap in taps)
