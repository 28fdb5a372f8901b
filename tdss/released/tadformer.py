"""TADFormer's released models: the shipped code's and those of the code that the published counts describe.

Which filter a file has, its names tell. The skip feature is read in two ways by the same weights: a static filter is taken
to be the shipped code, which reads it scrambled. The order of the prompts is that of the tasks in the file.
"""

import re

from tdss.backbones.base import Published
from tdss.config import ModelConfig
from tdss.released import swin_family
from tdss.released.base import Keys, Reader, Weights

STATIC = re.compile(r"\.lora_filter\.(\w+)\.conv2d\.")
PROMPTS = "backbone.task_prompts"
NORM = ".attn.proj.prompt_layernorm."
OWN = (
    (re.compile(re.escape(PROMPTS)), "backbone.state.tokens"),
    (re.compile(re.escape(NORM)), ".attn.prompt_norm."),
    (re.compile(r"\.task_prompts_up\."), ".prompts_up."),
    (STATIC, r".filter.\1."),
    (re.compile(r"\.lora_filter\.conv\."), ".filter.generate."),
    (re.compile(r"\.lora_filter\.chan_FilterNorm\.std$"), ".filter.gain"),
    (re.compile(r"\.lora_filter\.chan_FilterNorm\.mean$"), ".filter.shift"),
)


def describe(weights: Weights) -> Keys:
    """See ``Reader``."""
    bare = swin_family.bare(weights)
    static = any(STATIC.search(name) for name in bare)
    adapter = {
        "kind": "tadformer",
        "rank": swin_family.shape(bare, "backbone.layers.0.blocks.0.attn.qkv.lora_shared_A", 2)[0],
        "filter": "static" if static else "dynamic",
        "skip": "scrambled" if static else "straight",
    }
    keys = swin_family.describe(bare) | {"adapter": adapter}
    backbone = [name for name in bare if name.startswith("backbone.")]
    if (
        backbone[0] != PROMPTS
    ):  # a file that sorts its names, as safetensors does: PyTorch names a module's own tensors first
        del keys["tasks"]
    return keys


def translate(weights: Weights, config: ModelConfig) -> Published:
    """See ``Reader``; the gate is the last block's, and a norm of prompts in another block has no effect."""
    bare, depths = swin_family.bare(weights), tuple(enumerate(config.backbone.depths))
    norms = [f"backbone.layers.{stage}.blocks.{block}{NORM}" for stage, depth in depths for block in range(depth - 1)]
    unused = [name for name in bare if name.startswith(tuple(norms))]
    ours, left = swin_family.translate({name: value for name, value in bare.items() if name not in unused}, OWN)
    for stage, depth in depths:
        if (gate := f"backbone.stages.{stage}.prompt_gate") in ours:
            ours[f"backbone.stages.{stage}.blocks.{depth - 1}.skip_gate"] = ours.pop(gate)
    return Published(ours, (*left, *unused))


READER = Reader(describe, translate)
