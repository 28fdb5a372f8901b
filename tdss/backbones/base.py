"""What a backbone hands to the adapters and the decoders."""

from typing import NamedTuple

from torch import Tensor


class BlockTap(NamedTuple):
    """The two normalised inputs of one transformer block, each ``[batch, height, width, channels]``.

    ``attention`` is LN1(x), what the attention reads; ``mlp`` is LN2(x'), what the MLP reads.
    """

    attention: Tensor
    mlp: Tensor


class StageTap(NamedTuple):
    """One stage: its blocks' taps and its output before any downsampling, ``[batch, height, width, channels]``."""

    blocks: tuple[BlockTap, ...]
    output: Tensor
