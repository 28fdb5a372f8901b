"""MTLoRA's released models, and those of MTLoRA+, which has an update of each reduction too.

The scale of the updates is in no tensor: it is the release's 4 where the given keys have no other. Ranks that differ between
linears become the largest.
"""

from tdss.adapters.config import MtloraConfig
from tdss.backbones.base import Published
from tdss.config import ModelConfig
from tdss.released import swin_family
from tdss.released.base import Keys, Reader, Weights


def describe(weights: Weights) -> Keys:
    """See ``Reader``."""
    bare = swin_family.bare(weights)
    plus = any(".downsample.reduction.lora_" in name for name in bare)
    adapter = {"kind": "mtlora", **swin_family.ranks(bare), "reduction": plus}
    return swin_family.describe(bare) | {"adapter": adapter}


def translate(weights: Weights, config: ModelConfig) -> Published:
    """See ``Reader``."""
    assert isinstance(config.adapter, MtloraConfig)
    ours, left = swin_family.translate(swin_family.bare(weights), ())
    swin_family.pad_updates(ours, config.adapter)
    return Published(ours, tuple(left))


READER = Reader(describe, translate)
