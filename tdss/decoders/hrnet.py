"""The hrnet-style decoder of MTLoRA and its descendants: all stages joined on one grid, then two 1×1 convolutions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tdss.adapters.base import TaskFeatures
from tdss.decoders.base import Decoders, Sizes
from tdss.decoders.config import HrnetConfig


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``[batch, channels, height, width]`` bilinearly, half-pixel centres, no antialiasing."""
    if tuple(x.shape[2:]) == size:
        return x
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


class HrnetHead(nn.Module):
    """The part after the downsamplers: resize to one grid, concat, Conv1×1 + BN + ReLU + Conv1×1, resize to the image."""

    def __init__(self, config: HrnetConfig, channels: int, image: tuple[int, int]) -> None:
        super().__init__()
        self.image = image
        self.grid = config.grid_of(image)
        self.mix = nn.Conv2d(sum(config.widths), config.hidden, 1, bias=config.mix_bias)
        self.norm = nn.BatchNorm2d(config.hidden)
        self.classify = nn.Conv2d(config.hidden, channels, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map one ``[batch, height, width, channels]`` per stage to ``[batch, channels, *image]``."""
        return self.mixed(torch.cat([resize(x.permute(0, 3, 1, 2), self.grid) for x in maps], 1))

    def mixed(self, joined: Tensor) -> Tensor:
        """Map joined maps ``[batch, channels, height, width]`` to ``[batch, channels, *image]``."""
        return resize(self.classify(functional.relu(self.norm(self.mix(joined)))), self.image)


def downsamplers(config: HrnetConfig, widths: Sequence[int]) -> nn.ModuleList:
    """Return a task's bias-free 1×1 convolutions, one per stage, from the stages' ``widths`` to the configuration's."""
    return nn.ModuleList(
        nn.Linear(wide, narrow, bias=False) for wide, narrow in zip(widths, config.widths, strict=True)
    )


class HrnetDecoder(nn.Module):
    """One task's decoder: a bias-free 1×1 downsampler per stage, then the head."""

    def __init__(self, config: HrnetConfig, widths: Sequence[int], channels: int, image: tuple[int, int]) -> None:
        super().__init__()
        self.downsamplers = downsamplers(config, widths)
        self.head = HrnetHead(config, channels, image)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map one ``[batch, height, width, channels]`` per stage to the task's raw output ``[batch, channels, *image]``."""
        return self.head([down(x) for down, x in zip(self.downsamplers, features, strict=True)])  # type: ignore[no-any-return]


class HrnetDecoders(nn.ModuleDict, Decoders):
    """A decoder of its own for each task."""

    def __init__(self, config: HrnetConfig, sizes: Sizes) -> None:
        widths = [stage.channels for stage in sizes.stages]
        super().__init__(
            {task: HrnetDecoder(config, widths, channels, sizes.image) for task, channels in sizes.tasks.items()}
        )

    def forward(self, features: TaskFeatures) -> dict[str, Tensor]:
        """Answer every task."""
        return {task: decoder(features[task]) for task, decoder in self.items()}

    def keep(self, tasks: Sequence[str]) -> None:
        """Drop the decoders of other tasks."""
        for task in [task for task in self if task not in tasks]:
            del self[task]
