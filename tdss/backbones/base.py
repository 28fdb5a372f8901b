"""What a backbone hands to the adapters and the decoders."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class BlockTap(NamedTuple):
    """The two normalised inputs of one transformer block, each ``[batch, height, width, channels]``.

    ``attention`` is LN1(x), what the attention reads; ``mlp`` is LN2(x'), what the MLP reads. ``streams`` are the
    block's outputs for tasks that have one of their own (MTLoRA), in the last block of a stage after its merging.
    """

    attention: Tensor
    mlp: Tensor
    streams: Mapping[str, Tensor] | None = None


class StageTap(NamedTuple):
    """One stage: its blocks' taps and its output before any downsampling, ``[batch, height, width, channels]``."""

    blocks: tuple[BlockTap, ...]
    output: Tensor
