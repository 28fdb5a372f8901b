"""TADFormer's configuration."""

from typing import Literal

from bundle.base.limits import Real, Small
from tdss.adapters.config import LORA, PUBLISHED, AdapterConfig


class TadformerConfig(AdapterConfig):
    """TADFormer (tdss/adapters/tadformer/modules.py): one low-rank update per linear of a Swin, which each task filters in last blocks.

    ``filter`` dynamic is the published one, made from each image; static, one per task, is that of the released code.
    ``skip`` scrambled reads the skip feature's memory as the released code does: channels and positions are mixed.
    """

    kind: Literal["tadformer"]
    backbones = "swin"
    merges = True
    rank: Small
    scale: Real = 4.0
    filter: Literal["dynamic", "static"] = "dynamic"
    skip: Literal["straight", "scrambled"] = "straight"

    def trainable(self) -> tuple[str, ...]:
        """Return updates, filters, prompts and gates, and what the publication trains beside them."""
        return (
            *LORA,
            *PUBLISHED,
            "backbone.state.*",
            "backbone.*.filter.*",
            "backbone.*.prompts_up.*",
            "backbone.*.skip_gate",
        )
