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
OWN = (
    (re.compile(r"^backbone\.task_prompts$"), "backbone.state.tokens"),
    (re.compile(r"\.lora_shared_A$"), ".update.down"),
    (re.compile(r"\.lora_shared_B$"), ".update.up"),
    (re.compile(r"\.attn\.proj\.prompt_layernorm\."), ".attn.prompt_norm."),
    (re.compile(r"\.task_prompts_up\."), ".prompts_up."),
    (STATIC, r".filter.\1."),
    (re.compile(r"\.lora_filter\.conv\."), ".filter.generate."),
    (re.compile(r"\.lora_filter\.chan_FilterNorm\.std$"), ".filter.gain"),
    (re.compile(r"\.lora_filter\.chan_FilterNorm\.mean$"), ".filter.shift"),
)
GATE = "prompt_gate"


def describe(weights: Weights) -> Keys:
    """See ``Reader``."""
    bare = swin_family.bare(weights)
    static = any(STATIC.search(name) for name in bare)
    adapter = {
        "kind": "tadformer",
        "rank": swin_family.tensor(bare, "backbone.layers.0.blocks.0.attn.qkv.lora_shared_A").shape[0],
        "filter": "static" if static else "dynamic",
        "skip": "scrambled" if static else "straight",
    }
    keys = swin_family.describe(bare) | {"adapter": adapter}
    if list(bare) == sorted(bare):  # safetensors keeps no order
        del keys["tasks"]
    return keys


def translate(weights: Weights, config: ModelConfig) -> Published:
    """See ``Reader``; the gate is the last block's, and a norm of prompts in another block has no effect."""
    ours, left = swin_family.translate(swin_family.bare(weights), OWN)
    for stage, depth in enumerate(config.backbone.depths):
        prefix = f"backbone.stages.{stage}."
        for block in range(depth - 1):
            unused = [f"{prefix}blocks.{block}.attn.prompt_norm.{name}" for name in ("weight", "bias")]
            left += [name for name in unused if ours.pop(name, None) is not None]
        if prefix + GATE in ours:
            ours[f"{prefix}blocks.{depth - 1}.skip_gate"] = ours.pop(prefix + GATE)
    return ours, tuple(left)


READER = Reader(describe, translate)
