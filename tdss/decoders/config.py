"""The decoders' configurations; ``DecoderConfig`` is their contract."""

from typing import Literal

from bundle.base.frozen import Frozen
from bundle.base.limits import Small, Width


class DecoderConfig(Frozen):
    """The contract of a decoder's configuration."""

    kind: str

    def fault(self, maps: int) -> str:
        """Say why the decoder cannot take this number of maps for each task, with the key; "" if it can."""
        return ""


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

    def fault(self, maps: int) -> str:
        """See ``DecoderConfig.fault``."""
        entries = len(self.widths)
        return "" if entries == maps else f"decoder.widths has {entries} entries, backbone and adapter give {maps} maps"

    def grid_of(self, image: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) of the grid on which an image's maps are joined."""
        return -(-image[0] // self.stride), -(-image[1] // self.stride)
