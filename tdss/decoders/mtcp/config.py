"""The configuration of MT-CP's decoders."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bundle.base.limits import LIMITS, Name, Positive, Small, Width
from tdss.backbones.config import STAGES, Depths, SwinConfig
from tdss.decoders.config import DecoderConfig


class MtcpConfig(DecoderConfig):
    """MT-CP (tdss/decoders/mtcp/modules.py) behind a backbone of ours.

    The shared map has ``width`` channels on the grid of the backbone's stage ``finest``. Each task has a Swin of its own
    behind it, of ``depths``, ``heads`` and ``window``. ``upsample`` is the factor, corners aligned, inside the heads of class
    maps and of ``deep_heads``, which have a convolution more. ``balance`` makes the tasks' weights follow their losses (balance.py); "released" lets them be negative.
    """

    kind: Literal["mtcp"]
    width: Width
    depths: Depths = (1, 2, 1)
    heads: Annotated[tuple[Small, ...], Field(min_length=1, max_length=STAGES)] = (2, 2, 2)
    window: Small = 7
    finest: Annotated[int, Field(strict=True, ge=0, le=LIMITS["stages"].most)] = 0
    upsample: Small = 2
    deep_heads: tuple[Name, ...] = ("depth",)
    balance: Literal["off", "clamped", "released"] = "off"
    spread: Positive = 7.5
    log_losses: bool = False

    @model_validator(mode="after")
    def _stages_agree(self) -> "MtcpConfig":
        self.swin()
        return self

    def swin(self) -> SwinConfig:
        """Return each task's Swin, whose patches are the shared map's positions."""
        return SwinConfig(embed_dim=self.width, depths=self.depths, heads=self.heads, window=self.window, patch=1)

    def fault(self, maps: int) -> str:
        """See ``DecoderConfig.fault``."""
        return "" if self.finest < maps else f"decoder.finest is {self.finest}, backbone and adapter give {maps} maps"
