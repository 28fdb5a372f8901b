"""What MTLoRA's released models share with those that were written on top of it: the Swin and the decoders.

backbone.layers.0.blocks.1.attn.proj.linear.weight        a linear that is adapted keeps its weights in ``linear``
downsampler.TASK.downsample_0.weight                      [narrow, wide, 1, 1]
decoders.decoders.TASK.last_layer.{0,1,3}                 Conv1×1, BatchNorm, (ReLU,) Conv1×1
"""

import math
import re

from torch import Size, Tensor
from torch.nn import functional

from bundle.base.errors import CheckpointError
from tdss.adapters.config import MtloraConfig
from tdss.adapters.faar.config import FaarConfig
from tdss.backbones.layouts import Rules, renamed
from tdss.backbones.swin_keys import DERIVED
from tdss.released.base import Keys, Weights

TASK_NAMES = {"sal": "saliency"}
"""Released names of tasks that have another one here."""
HEAD = {"0": "mix", "1": "norm", "3": "classify"}
COMMON = (
    (re.compile(r"^backbone\.layers\."), "backbone.stages."),
    (re.compile(r"\.relative_position_bias_table$"), ".bias_table"),
    (re.compile(r"\.linear\.(weight|bias)$"), r".\1"),
    (re.compile(r"^downsampler\.(\w+)\.downsample_(\d+)\."), r"decoders.\1.downsamplers.\2."),
    (re.compile(r"\.lora_tasks_A\.(\w+)$"), r".tasks.\1.down"),
    (re.compile(r"\.lora_tasks_B\.(\w+)$"), r".tasks.\1.up"),
    (re.compile(r"\.lora_shared_A$"), ".down"),
    (re.compile(r"\.lora_shared_B$"), ".up"),
)
DOWNSAMPLER = re.compile(r"^downsampler\.(\w+)\.downsample_(\d+)\.")
LAST_LAYER = re.compile(r"^decoders\.decoders\.(\w+)\.last_layer\.([013])\.(\w+)$")


def bare(weights: Weights) -> dict[str, Tensor]:
    """Return the weights without the prefix that DistributedDataParallel gives each name."""
    return {name.removeprefix("module."): tensor for name, tensor in weights.items()}


def shape(weights: Weights, name: str, axes: int) -> Size:
    """Return the shape of a tensor that every model of the family has.

    Raises:
        CheckpointError: the file has none of this name with so many axes, or it is empty.
    """
    tensor = weights.get(name)
    if tensor is None or tensor.ndim != axes or not tensor.numel():
        raise CheckpointError(
            "this is no model of the system",
            expected=f"a tensor {name} of {axes} axes",
            got=f"{len(weights)} others, as {min(weights)}" if tensor is None else f"one of shape {list(tensor.shape)}",
            where="the names in the file",
            fix="name the system whose released code saved the file",
        )
    return tensor.shape


def describe(weights: Weights) -> Keys:
    """Return all keys but ``adapter``; ``image`` only where a shift mask tells it."""
    first = "backbone.layers.{}.blocks.0."
    patch = shape(weights, "backbone.patch_embed.proj.weight", 4)
    stages = _count(weights, r"^backbone\.layers\.(\d+)\.")
    tables = [shape(weights, first.format(stage) + "attn.relative_position_bias_table", 2) for stage in range(stages)]
    window = (math.isqrt(tables[0][0]) + 1) // 2
    backbone = {
        "embed_dim": patch[0],
        "depths": [_count(weights, rf"^backbone\.layers\.{stage}\.blocks\.(\d+)\.") for stage in range(stages)],
        "heads": [table[1] for table in tables],
        "window": window,
        "mlp_ratio": shape(weights, first.format(0) + "mlp.fc1.linear.weight", 2)[0] / patch[0],
        "patch": patch[2],
    }
    return {"backbone": backbone, **_decoders(weights, 2 * patch[2]), **_image(weights, window * patch[2], stages)}


def _count(weights: Weights, pattern: str) -> int:
    """Return how many numbers the names have there, at least 1: the tensors of the first are asked for by name."""
    return max(1, len({match[1] for name in weights if (match := re.match(pattern, name))}))


def _decoders(weights: Weights, stride: int) -> Keys:
    """Return ``decoder`` and ``tasks``, in the order of the file."""
    names = list(dict.fromkeys(match[1] for name in weights if (match := DOWNSAMPLER.match(name))))
    if not names:
        shape(weights, "downsampler.semseg.downsample_0.weight", 4)
    head, down = "decoders.decoders.{}.last_layer.{}.weight", f"downsampler.{names[0]}.downsample_{{}}.weight"
    scales = _count(weights, rf"^downsampler\.{names[0]}\.downsample_(\d+)\.")
    decoder = {
        "widths": [shape(weights, down.format(scale), 4)[0] for scale in range(scales)],
        "hidden": shape(weights, head.format(names[0], 0), 4)[0],
        "stride": stride,
        "mix_bias": True,
    }
    tasks = {TASK_NAMES.get(name, name): shape(weights, head.format(name, 3), 4)[0] for name in names}
    return {"decoder": decoder, "tasks": tasks}


def _image(weights: Weights, window: int, stages: int) -> Keys:
    """Return a square image's size from the number of windows of the first shift mask."""
    for stage in range(stages):
        mask = weights.get(f"backbone.layers.{stage}.blocks.1.attn_mask")
        if mask is not None and mask.ndim == 3:
            side = math.isqrt(mask.shape[0]) * window * 2**stage
            return {"image": {"height": side, "width": side}}
    return {}


def ranks(weights: Weights) -> dict[str, int]:
    """Return ``rank`` and ``task_rank``: where linears differ, the largest.

    Raises:
        CheckpointError: the file has no update that all tasks share, or none of a task.
    """
    largest = {}
    for key, kind in (("rank", "lora_shared_A"), ("task_rank", "lora_tasks_A")):
        found = [value.shape[0] for name, value in weights.items() if f".{kind}" in name and value.ndim == 2]
        if not found:
            shape(weights, f"backbone.layers.0.blocks.0.attn.proj.{kind}", 2)
        largest[key] = max(found)
    return largest


def pad_updates(ours: dict[str, Tensor], adapter: MtloraConfig | FaarConfig) -> tuple[str, ...]:
    """Give each update the configuration's rank, by slots that are zero in both of its halves and never act.

    Returns the updates whose halves fit each other; others stay as they are, and are refused by name.
    """
    updates = []
    for update in [name.removesuffix(".down") for name in ours if name.endswith(".down")]:
        down, up = ours[f"{update}.down"], ours.get(f"{update}.up")
        if up is not None and down.ndim == up.ndim == 2 and down.shape[0] == up.shape[1]:
            missing = max(0, (adapter.task_rank if ".tasks." in update else adapter.rank) - len(down))
            ours[f"{update}.down"] = functional.pad(down, (0, 0, 0, missing))
            ours[f"{update}.up"] = functional.pad(up, (0, missing))
            updates.append(update)
    return tuple(updates)


def translate(weights: Weights, own: Rules) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors under our names, by the rules of the family and a system's ``own``, and the derived names left out.

    A 1×1 convolution outside the heads is a linear here. A name whose place is taken keeps its own.
    """
    ours: dict[str, Tensor] = {}
    left = [name for name in weights if DERIVED.search(name)]
    for name, value in weights.items():
        if DERIVED.search(name):
            continue
        new = _with_owner(name, weights)
        if match := LAST_LAYER.match(name):
            new = f"decoders.{match[1]}.head.{HEAD[match[2]]}.{match[3]}"
        elif value.shape[2:] == (1, 1):
            value = value.flatten(1)
        new = ".".join(TASK_NAMES.get(part, part) for part in renamed(new, (*COMMON, *own)).split("."))
        ours[name if new in ours else new] = value
    return ours, left


def _with_owner(name: str, weights: Weights) -> str:
    """Return the released name of a shared tensor with the module that holds it here."""
    stem, _, last = name.rpartition(".")
    if last not in ("lora_shared_A", "lora_shared_B", "shared_log_m"):
        return name
    has_tasks = any(other.startswith(f"{stem}.lora_tasks_A.") for other in weights)
    return f"{stem}.{'shared' if has_tasks else 'update'}.{last}"
