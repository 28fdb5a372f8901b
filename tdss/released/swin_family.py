"""What MTLoRA's released models share with those that were written on top of it: the Swin and the decoders.

backbone.layers.0.blocks.1.attn.proj.linear.weight        a linear that is adapted keeps its weights in ``linear``
downsampler.TASK.downsample_0.weight                      [narrow, wide, 1, 1]
decoders.decoders.TASK.last_layer.{0,1,3}                 Conv1×1, BatchNorm, (ReLU,) Conv1×1
"""

import math
import re
from typing import TypeAlias

from torch import Tensor

from bundle.base.errors import CheckpointError
from tdss.backbones.swin_keys import DERIVED
from tdss.released.base import Keys, Weights

Rules: TypeAlias = tuple[tuple[re.Pattern[str], str], ...]

TASK_NAMES = {"sal": "saliency"}
"""Released names of tasks that have another one here."""
HEAD = {"0": "mix", "1": "norm", "3": "classify"}
COMMON = (
    (re.compile(r"^backbone\.layers\."), "backbone.stages."),
    (re.compile(r"\.relative_position_bias_table$"), ".bias_table"),
    (re.compile(r"\.linear\.(weight|bias)$"), r".\1"),
    (re.compile(r"^downsampler\.(\w+)\.downsample_(\d+)\."), r"decoders.\1.downsamplers.\2."),
)
DOWNSAMPLER = re.compile(r"^downsampler\.(\w+)\.downsample_(\d+)\.")
LAST_LAYER = re.compile(r"^decoders\.decoders\.(\w+)\.last_layer\.([013])\.(\w+)$")


def bare(weights: Weights) -> dict[str, Tensor]:
    """Return the weights without the prefix that DistributedDataParallel gives each name."""
    return {name.removeprefix("module."): tensor for name, tensor in weights.items()}


def tensor(weights: Weights, name: str) -> Tensor:
    """Return a tensor that every model of the family has.

    Raises:
        CheckpointError: the file has none of this name.
    """
    if name not in weights:
        raise CheckpointError(
            "this is no model of the system",
            expected=f"a tensor {name}",
            got=f"{len(weights)} others, as {min(weights)}",
            where="the names in the file",
            fix="name the system whose released code saved the file",
        )
    return weights[name]


def describe(weights: Weights) -> Keys:
    """Return all keys but ``adapter``; ``image`` only where a shift mask tells it."""
    patch = tensor(weights, "backbone.patch_embed.proj.weight").shape
    stages = _count(weights, r"^backbone\.layers\.(\d+)\.")
    blocks = [_count(weights, rf"^backbone\.layers\.{stage}\.blocks\.(\d+)\.") for stage in range(stages)]
    first = "backbone.layers.{}.blocks.0."
    tables = [
        tensor(weights, first.format(stage) + "attn.relative_position_bias_table").shape for stage in range(stages)
    ]
    window = (math.isqrt(tables[0][0]) + 1) // 2
    backbone = {
        "embed_dim": patch[0],
        "depths": blocks,
        "heads": [table[1] for table in tables],
        "window": window,
        "mlp_ratio": tensor(weights, first.format(0) + "mlp.fc1.linear.weight").shape[0] / patch[0],
        "patch": patch[2],
    }
    return {"backbone": backbone, **_decoders(weights, 2 * patch[2]), **_image(weights, window * patch[2])}


def _count(weights: Weights, pattern: str) -> int:
    return 1 + max((int(match[1]) for name in weights if (match := re.match(pattern, name))), default=0)


def _decoders(weights: Weights, stride: int) -> Keys:
    """Return ``decoder`` and ``tasks``, in the order of the file."""
    names = list(dict.fromkeys(match[1] for name in weights if (match := DOWNSAMPLER.match(name))))
    if not names:
        tensor(weights, "downsampler.semseg.downsample_0.weight")
    head = "decoders.decoders.{}.last_layer.{}.weight"
    scales = _count(weights, rf"^downsampler\.{names[0]}\.downsample_(\d+)\.")
    decoder = {
        "widths": [
            tensor(weights, f"downsampler.{names[0]}.downsample_{scale}.weight").shape[0] for scale in range(scales)
        ],
        "hidden": tensor(weights, head.format(names[0], 0)).shape[0],
        "stride": stride,
        "mix_bias": True,
    }
    tasks = {TASK_NAMES.get(name, name): tensor(weights, head.format(name, 3)).shape[0] for name in names}
    return {"decoder": decoder, "tasks": tasks}


def _image(weights: Weights, window: int) -> Keys:
    """Return a square image's size from the number of windows of the first shift mask."""
    mask = weights.get("backbone.layers.0.blocks.1.attn_mask")
    if mask is None:
        return {}
    side = math.isqrt(mask.shape[0]) * window
    return {"image": {"height": side, "width": side}}


def translate(weights: Weights, own: Rules) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors under our names, by the rules of the family and a system's ``own``, and the derived names left out.

    A 1×1 convolution outside the heads is a linear here.
    """
    ours: dict[str, Tensor] = {}
    left = [name for name in weights if DERIVED.search(name)]
    for name in weights.keys() - set(left):
        value, new = weights[name], name
        if match := LAST_LAYER.match(name):
            new = f"decoders.{match[1]}.head.{HEAD[match[2]]}.{match[3]}"
        elif value.shape[2:] == (1, 1):
            value = value.flatten(1)
        for pattern, replacement in (*COMMON, *own):
            new = pattern.sub(replacement, new)
        ours[".".join(TASK_NAMES.get(part, part) for part in new.split("."))] = value
    return ours, left
