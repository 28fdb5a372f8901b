"""The decoders' configurations; ``DecoderConfig`` is their contract."""

from typing import Literal

from bundle.base.frozen import Frozen
from bundle.base.limits import Small, Width


class DecoderConfig(Frozen):
    """The contract of a decoder's configuration."""

    kind: str

    def check(self, stages: int) -> None:
        """Do nothing if the decoder takes this number of stages.

        Raises:
            ValueError: it does not; the message names the key.
        """


class HrnetConfig(DecoderConfig):
    """The hrnet-style decoder: one downsampler per stage, resize to one grid, concat, two 1×1 convs.

    ``stride`` is the grid's: 8 means that the maps are joined at H/8 × W/8. ``mix_bias`` gives the first convolution
    the bias that MTLoRA's has; the batch norm after it makes it redundant.
    """

    kind: Literal["hrnet"] = "hrnet"
    widths: tuple[Width, ...] = (18, 36, 72, 144)
    hidden: Width
    stride: Small = 8
    mix_bias: bool = False

    def check(self, stages: int) -> None:
        """See ``DecoderConfig.check``."""
        if len(self.widths) != stages:
            raise ValueError(f"decoder.widths has {len(self.widths)} entries, the backbone {stages} stages")
