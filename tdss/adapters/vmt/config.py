"""The configuration of VMT-Adapter and VMT-Adapter-Lite."""

from typing import Literal

from bundle.base.limits import Real, Small
from tdss.adapters.config import AdapterConfig


class VmtConfig(AdapterConfig):
    """VMT-Adapter beside the MLPs of a Swin, reconstructed from its abstract (tdss/adapters/vmt/modules.py).

    ``lite`` ties the up-projection to the down-projection: VMT-Adapter-Lite.
    """

    kind: Literal["vmt"]
    backbones = "swin"
    rank: Small
    lite: bool = False
    scale: Real = 0.1

    def trainable(self) -> tuple[str, ...]:
        """Return the shared adapters and the tasks' gains and shifts."""
        return ("backbone.*.vmt.*",)
