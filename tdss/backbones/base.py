"""The contract of a backbone: what flows through its blocks, and what it hands to adapters and decoders."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from tdss.backbones.config import BackboneConfig, ImageConfig


class Published(NamedTuple):
    """A published file's tensors under our names, its names that are left out, and our names of what was resized."""

    tensors: dict[str, Tensor]
    left: tuple[str, ...]
    resized: tuple[str, ...] = ()


class Refitted(NamedTuple):
    """A backbone's tensors for images of another size, and what that changed, in sentences."""

    tensors: dict[str, Tensor]
    changes: tuple[str, ...]


class Flow(NamedTuple):
    """What goes from block to block: the feature map, and the state that an adapter lets flow beside it, by name.

    ``x`` is ``[batch, height, width, channels]`` in a Swin and ``[batch, 1 + height·width, channels]`` in a ViT.
    """

    x: Tensor
    state: Mapping[str, Tensor]


class BlockTap(NamedTuple):
    """The two normalised inputs of one transformer block, each ``[batch, height, width, channels]``.

    ``attention`` is LN1(x), what the attention reads; ``mlp`` is LN2(x'), what the MLP reads. ``streams`` are the
    block's outputs for tasks that have one of their own, in the last block of a stage.
    """

    attention: Tensor
    mlp: Tensor
    streams: Mapping[str, Tensor] | None = None


class StageTap(NamedTuple):
    """One stage: its blocks' taps and its output before any downsampling, ``[batch, height, width, channels]``."""

    blocks: tuple[BlockTap, ...]
    output: Tensor


class Block(nn.Module):
    """One transformer block: ``forward(flow)`` returns the flow after it, and its tap. A plain block leaves the state as it is."""


class Stage(nn.Module):
    """Blocks of one resolution, and what follows them."""

    blocks: nn.ModuleList

    def forward(self, flow: Flow, first: int = 0) -> tuple[Flow, StageTap]:
        """Return the flow into the next stage and this stage's tap; ``flow`` enters block ``first``, and may have passed all."""
        taps = []
        for block in list(self.blocks)[first:]:
            flow, tap = block(flow)
            taps.append(tap)
        return self.leave(flow, taps)

    @abstractmethod
    def leave(self, flow: Flow, taps: Sequence[BlockTap]) -> tuple[Flow, StageTap]:
        """Return what ``forward`` does, from the flow after the last block and the blocks' taps."""


class Backbone(nn.Module):
    """Maps an image to one ``StageTap`` per stage; ``sizes`` are the stages' (height, width).

    An adapter attaches to a backbone whose weights are loaded, and may replace any module inside it. What it puts in
    the place of a published module keeps that module's tensors under their names. ``state``, where an adapter sets it,
    maps the embedded image to the state that flows through the blocks.
    """

    config: BackboneConfig
    sizes: tuple[tuple[int, int], ...]
    stages: nn.ModuleList

    def __init__(self) -> None:
        super().__init__()
        self.state: nn.Module | None = None

    @abstractmethod
    def embed(self, image: Tensor) -> Tensor:
        """Map ``[batch, 3, height, width]`` to the first block's feature map."""

    def forward(self, image: Tensor) -> tuple[StageTap, ...]:
        """Map ``[batch, 3, height, width]`` to the taps of every stage."""
        x = self.embed(image)
        flow = Flow(x, {} if self.state is None else self.state(x))
        taps = []
        for stage in self.stages:
            flow, tap = stage(flow)
            taps.append(tap)
        return tuple(taps)

    def blocks(self) -> Iterator[tuple[nn.ModuleList, int]]:
        """Yield where each block is, its list and its index, in the order of the forward pass."""
        for stage in self.stages:
            assert isinstance(stage, Stage)
            yield from ((stage.blocks, index) for index in range(len(stage.blocks)))

    @staticmethod
    @abstractmethod
    def refit(weights: Mapping[str, Tensor], config: BackboneConfig, old: ImageConfig, new: ImageConfig) -> Refitted:
        """Return the tensors of a backbone that was made for images of size ``old``, for images of size ``new``."""

    @staticmethod
    @abstractmethod
    def translate(weights: Mapping[str, Tensor], config: BackboneConfig, image: ImageConfig) -> Published:
        """Return the tensors of a published file under our names.

        Raises:
            CheckpointError: the file is in no published layout.
        """


def spread_drop_path(config: BackboneConfig) -> tuple[tuple[float, ...], ...]:
    """Return each block's probability of drop-path, by stage: it grows linearly to the last block's."""
    depth = sum(config.depths)
    drops = iter([config.drop_path * block / max(depth - 1, 1) for block in range(depth)])
    return tuple(tuple(next(drops) for _ in range(count)) for count in config.depths)
