"""The configuration of VMT-Adapter and VMT-Adapter-Lite."""

from typing import Literal

from bundle.base.limits import Real, Small
from tdss.adapters.config import AdapterConfig, no_swin
from tdss.backbones.config import BackboneConfig


class VmtConfig(AdapterConfig):
    """VMT-Adapter beside the MLPs of a Swin, reconstructed from its abstract (tdss/adapters/vmt/modules.py).

    ``lite`` ties the up-projection to the down-projection: VMT-Adapter-Lite.
    """

    kind: Literal["vmt"]
    rank: Small
    lite: bool = False
    scale: Real = 0.1

    def fault(self, backbone: BackboneConfig) -> str:
        """See ``AdapterConfig.fault``."""
        return no_swin(self, backbone)

    def trainable(self) -> tuple[str, ...]:
        """Return the shared adapters and the tasks' gains and shifts."""
        return ("backbone.*.vmt.*",)
