"""Published Swin checkpoints' key layouts, translated to ours.

    official   layers.0.blocks.1.attn.qkv.weight               (also MTLoRA's and most detection code)
    timm       layers.1.downsample.reduction.weight            the merging stands at the *start* of the next stage
    hf         [swin.]encoder.layers.0.blocks.1.attention.self.query.weight, query, key and value apart

Which one a file is in is read off its keys. Classifier, last norm and derived buffers are left out, and named. A position
table of another window is resized bicubically, as the published code does to fine-tune with a larger window.
"""

import math
import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from bundle.base.errors import CheckpointError
from tdss.backbones.base import Published
from tdss.backbones.layouts import HF_BLOCK, Rules, join_qkv, prefix_of, renamed

Layout: TypeAlias = Literal["official", "timm", "hf"]

DERIVED = re.compile(r"(relative_position_index|attn_mask)$")
UNUSED = re.compile(r"^(head|classifier|norm\d?|layernorm|pooler)\.|^mask_token$")
STAGE = re.compile(r"^layers\.(\d+)\.")
HF_NAMES: Rules = (
    (re.compile(r"^embeddings\.patch_embeddings\.projection\."), "patch_embed.proj."),
    (re.compile(r"^embeddings\.norm\."), "patch_embed.norm."),
    (re.compile(r"^encoder\.layers\."), "layers."),
    (
        re.compile(r"\.attention\.(?:self\.)?(?:relative_position_bias\.)?relative_position_bias_table$"),
        ".attn.relative_position_bias_table",
    ),
    *HF_BLOCK,
)


def detect_layout(keys: set[str]) -> Layout:
    """Tell which published layout the keys are in, without the backbone's prefix.

    Raises:
        CheckpointError: they are in none.
    """
    if any(key.startswith("encoder.layers.") for key in keys):
        return "hf"
    if not any(STAGE.match(key) for key in keys):
        raise CheckpointError(
            "these are not the weights of a published Swin",
            expected="keys like layers.0.blocks.0.attn.qkv.weight",
            got=", ".join(sorted(keys)[:3]) or "no key",
            where="the checkpoint's keys",
            fix="give an ImageNet Swin of the official, timm or HF layout",
        )
    if any(key.startswith("layers.0.downsample.") for key in keys):
        return "official"
    return "timm" if any(re.match(r"layers\.\d+\.downsample\.", key) for key in keys) else "official"


def from_published(weights: Mapping[str, Tensor], window: int) -> Published:
    """Return the backbone's state in our layout, for a model with this window.

    Raises:
        CheckpointError: the layout is none of the three.
    """
    prefix = prefix_of(weights)
    layout = detect_layout({key.removeprefix(prefix) for key in weights})
    ours: dict[str, Tensor] = {}
    left: list[str] = []
    for key, tensor in weights.items():
        name = renamed(key.removeprefix(prefix), HF_NAMES)
        if not key.startswith(prefix) or DERIVED.search(name) or UNUSED.match(name):
            left.append(key)
        else:
            new = _ours(name, layout)
            ours[key if new in ours else new] = tensor
    tables = {name: resize_table(table, window) for name, table in ours.items() if name.endswith(".bias_table")}
    resized = tuple(name for name, table in tables.items() if table is not ours[name])
    return Published(join_qkv(ours | tables), tuple(left), resized)


def resize_table(table: Tensor, window: int) -> Tensor:
    """Resize a position table ``[(2·n − 1)², heads]`` bicubically to the given window; what is none stays as it is."""
    side, new = math.isqrt(table.shape[0]) if table.ndim == 2 else 0, 2 * window - 1
    if side in (0, new) or side * side != table.shape[0] or table.dtype != torch.float32:
        return table
    square = table.T.unflatten(1, (side, side))[None]
    return functional.interpolate(square, size=(new, new), mode="bicubic", align_corners=False)[0].flatten(1).T


def _ours(key: str, layout: Layout) -> str:
    match = STAGE.match(key)
    if match is None:
        return key
    rest, stage = key[match.end() :], int(match[1])
    if layout == "timm" and rest.startswith("downsample."):
        stage -= 1
    return f"stages.{stage}.{rest.replace('relative_position_bias_table', 'bias_table')}"
