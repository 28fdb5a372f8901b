"""The contract of an adapter: what it puts into the backbone, what it reads from it, and what each task's decoder gets."""

from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor, nn

from tdss.adapters.config import AdapterConfig
from tdss.backbones.base import Backbone, StageTap
from tdss.part import Part

TaskFeatures: TypeAlias = dict[str, list[Tensor]]
"""One feature map per stage for each task, ``[batch, height, width, channels]``."""


class Adapter(nn.Module, Part):
    """Maps the backbone's taps to one feature map per task and stage.

    It is made of its configuration, a backbone whose weights are loaded, and the tasks. Its constructor attaches it: it may
    replace modules anywhere in the backbone, in place, and set ``Backbone.state``. The shapes it gives are those of
    ``AdapterConfig.shapes``.
    """

    config: AdapterConfig
    tasks: tuple[str, ...]

    def __init__(self, config: AdapterConfig, backbone: Backbone, tasks: Sequence[str]) -> None:
        super().__init__()
        self.config, self.tasks = config, tuple(tasks)

    def features(self, backbone: Backbone, image: Tensor) -> TaskFeatures:
        """Run the backbone and adapt its stages; an adapter whose tasks do not share one pass overrides this."""
        return self.adapt(backbone(image), image)

    def adapt(self, taps: Sequence[StageTap], image: Tensor) -> TaskFeatures:
        """Adapt the taps of ``image``; an adapter that reads the image itself overrides this."""
        return self(taps)  # type: ignore[no-any-return]

    def forward(self, taps: Sequence[StageTap]) -> TaskFeatures:
        """Adapt every stage for every task; here each task reads the stages' outputs."""
        return {task: [tap.output for tap in taps] for task in self.tasks}

    def keep(self, tasks: Sequence[str]) -> None:
        """See ``Part.keep``."""
        self.tasks = tuple(tasks)

    def settle(self) -> AdapterConfig:
        """Drop the tensors that only training needs, in place; return the configuration of an adapter that has the others."""
        return self.config


class StreamAdapter(Adapter):
    """An adapter inside the backbone, whose blocks give each task a stream of its own at the end of a stage."""

    def forward(self, taps: Sequence[StageTap]) -> TaskFeatures:
        """Return each task's stream of every stage."""
        return {task: [(tap.blocks[-1].streams or {})[task] for tap in taps] for task in self.tasks}


class NoAdapter(Adapter):
    """Every task reads the backbone's own stages."""
