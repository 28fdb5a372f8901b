"""The table of systems: each backbone, adapter and decoder by its configuration, and the class that is built of it.

A new one is a file or a folder, and a line here. Its configuration is read without PyTorch; its class is imported when a
model is built.
"""

from importlib import import_module
from typing import Any, NamedTuple

from bundle.base.frozen import Frozen
from tdss.adapters.config import MtloraConfig, NoAdapterConfig, SsfConfig, TdssConfig
from tdss.adapters.faar.config import FaarConfig
from tdss.adapters.tadformer.config import TadformerConfig
from tdss.adapters.taps.config import TapsConfig
from tdss.adapters.vmt.config import VmtConfig
from tdss.backbones.config import SwinConfig, VitConfig
from tdss.decoders.config import HrnetConfig
from tdss.decoders.mtcp.config import MtcpConfig
from tdss.decoders.tspd.config import TspdConfig


class System(NamedTuple):
    """A configuration, and where the class is that takes it."""

    config: type[Frozen]
    module: str
    name: str


BACKBONES = (System(SwinConfig, "tdss.backbones.swin", "Swin"), System(VitConfig, "tdss.backbones.vit", "Vit"))
ADAPTERS = (
    System(TdssConfig, "tdss.adapters.tdss", "Tdss"),
    System(MtloraConfig, "tdss.adapters.mtlora", "Mtlora"),
    System(TadformerConfig, "tdss.adapters.tadformer.modules", "Tadformer"),
    System(SsfConfig, "tdss.adapters.lora", "Ssf"),
    System(FaarConfig, "tdss.adapters.faar.modules", "Faar"),
    System(TapsConfig, "tdss.adapters.taps.modules", "Taps"),
    System(VmtConfig, "tdss.adapters.vmt.modules", "Vmt"),
    System(NoAdapterConfig, "tdss.adapters.base", "NoAdapter"),
)
DECODERS = (
    System(HrnetConfig, "tdss.decoders.hrnet", "HrnetDecoders"),
    System(MtcpConfig, "tdss.decoders.mtcp.modules", "MtcpDecoders"),
    System(TspdConfig, "tdss.decoders.tspd.modules", "TspdDecoders"),
)

_CLASSES = {row.config: (row.module, row.name) for row in (*BACKBONES, *ADAPTERS, *DECODERS)}


def class_of(config: Frozen) -> Any:  # one of three contracts, see tdss/model.py
    """Return the class that is built of a configuration, imported now."""
    module, name = _CLASSES[type(config)]
    return getattr(import_module(module), name)
