"""Published key layouts of DINOv2 and of plain vision transformers, translated to ours.

    original   blocks.3.attn.qkv.weight, blocks.3.ls1.gamma, pos_embed, cls_token, patch_embed.proj.weight; timm's too
    chunked    blocks.0.3.attn.qkv.weight: DINOv2's training code, which keeps a block's number inside its chunk
    hf         encoder.layer.3.attention.attention.query.weight, layer_scale1.lambda1, embeddings.…; in memory
               transformers 5 has layers.3 for a plain one

Where no block has a LayerScale its gains are 1. A position table of another grid is resized bicubically, once, here
(Oquab et al. do it at run time). So is a patch embedding of another patch. Both are computed in float64 and then rounded,
so that they hardly depend on the machine.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from bundle.base.errors import CheckpointError
from tdss.backbones.base import Published
from tdss.backbones.layouts import HF_BLOCK, Rules, join_qkv, prefix_of, renamed

KERNEL = "patch_embed.weight"
UNUSED = re.compile(r"(^|\.)(mask_token|(head|classifier|norm|fc_norm|layernorm|pooler)\..*)$")
REGISTERS = re.compile(r"(^|\.)register_tokens$")
BLOCK = re.compile(r"^(?:encoder\.layer|layers|blocks(?:\.\d+(?=\.\d))?)\.(\d+)\.(.*)$")
TOP = {
    "embeddings.cls_token": "class_token",
    "cls_token": "class_token",
    "embeddings.position_embeddings": "positions",
    "pos_embed": "positions",
    "embeddings.patch_embeddings.projection.weight": KERNEL,
    "patch_embed.proj.weight": KERNEL,
    "embeddings.patch_embeddings.projection.bias": "patch_embed.bias",
    "patch_embed.proj.bias": "patch_embed.bias",
}
INSIDE: Rules = (*HF_BLOCK, (re.compile(r"\.(?:layer_scale(\d)\.lambda1|ls(\d)\.gamma)$"), r".scale\1\2.gain"))


def from_published(weights: Mapping[str, Tensor], depths: Sequence[int], grid: tuple[int, int]) -> Published:
    """Return the backbone's state in our layout.

    ``depths`` are the blocks of each stage, ``grid`` is (height, width) in patches.

    Raises:
        CheckpointError: the keys are no vision transformer's, there are registers, or more blocks than the stages hold.
    """
    registers = [key for key in weights if REGISTERS.search(key)]
    if registers:
        raise CheckpointError(
            "this vision transformer has registers, which our backbone does not",
            expected="one without registers",
            got=", ".join(registers),
            where="the checkpoint's keys",
            fix="give the release without registers: every block attends to them, so leaving them out changes the features",
        )
    ours: dict[str, Tensor] = {}
    left: list[str] = []
    blocks = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)]
    prefix = prefix_of(weights)
    for key, tensor in weights.items():
        name = _translate(key.removeprefix(prefix), blocks) if key.startswith(prefix) else None
        if name is None:
            left.append(key)
        else:
            ours[key if name in ours else name] = tensor
    if "positions" not in ours:
        raise CheckpointError(
            "these are not the weights of a vision transformer",
            expected="keys like blocks.0.attn.qkv.weight and pos_embed",
            got=", ".join(sorted(weights)[:3]) or "no key",
            where="the checkpoint's keys",
            fix="give a DINOv2 or a plain ViT of the original, timm or HF layout",
        )
    table = ours["positions"]
    ours["positions"] = resize_positions(table, grid)
    if not any(name.endswith(".gain") for name in ours):
        names = [f"stages.{stage}.blocks.{block}.scale{number}.gain" for stage, block in blocks for number in (1, 2)]
        ours |= {name: torch.ones(table.shape[2]) for name in names}
    return Published(join_qkv(ours), tuple(left), () if ours["positions"] is table else ("positions",))


def resize_positions(table: Tensor, grid: tuple[int, int], source: tuple[int, int] | None = None) -> Tensor:
    """Resize a position table ``[1, 1 + n², dim]`` bicubically to ``[1, 1 + height·width, dim]``; the class token stays.

    ``source`` is the table's own (height, width) in patches; None: it is square. As in DINOv2 without registers (Oquab et
    al., 2023, ``interpolate_pos_encoding``), nothing is smoothed before it is made smaller. Its offset of 0.1 is left out,
    as in HF transformers.

    Raises:
        CheckpointError: the table is not one of a class token and a square grid, or not of floating-point numbers.
    """
    side = round(max(0, table.shape[1] - 1) ** 0.5) if table.ndim == 3 else 0
    rows, columns = source or (side, side)
    if table.ndim != 3 or rows * columns == 0 or table.shape[1] != 1 + rows * columns:
        raise CheckpointError(
            "the position table is not square",
            expected="[1, 1 + n², dim]: a class token and n × n patches",
            got=str(list(table.shape)),
            where="the checkpoint's position table",
            fix="give weights trained on square images, without registers or further tokens",
        )
    if table.dtype != torch.float32:
        raise CheckpointError(
            "the position table is of a type that cannot be resized",
            expected="float32, float16 or bfloat16",
            got=str(table.dtype),
            where="the checkpoint's position table",
            fix="save the weights as float32",
        )
    if (rows, columns) == grid:
        return table
    square = table[:, 1:].double().unflatten(1, (rows, columns)).permute(0, 3, 1, 2)
    resized = functional.interpolate(square, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2).float()], 1)


def with_patch(published: Published, patch: int) -> Published:
    """Return what was published with a patch embedding for patches of ``patch`` × ``patch`` pixels, where its own are others.

    See ``resize_kernel``. A kernel that is not square is left, and fits no model.
    """
    kernel = published.tensors.get(KERNEL)
    if kernel is None or kernel.ndim != 4 or kernel.shape[2] != kernel.shape[3] or kernel.shape[2] == patch:
        return published
    tensors = {**published.tensors, KERNEL: resize_kernel(kernel, patch)}
    return published._replace(tensors=tensors, resized=(*published.resized, KERNEL))


def resize_kernel(kernel: Tensor, patch: int) -> Tensor:
    """Resize a patch embedding ``[dim, 3, n, n]`` to ``[dim, 3, patch, patch]``, for an image that is not enlarged.

    With U ``[n, patch]``, the matrix of bilinear interpolation with half-pixel centres, W' = Uᵀ W U in each channel. For
    every patch x then ⟨W', x⟩ = ⟨W, U x Uᵀ⟩: the published kernel sees the enlarged patch. FlexiViT (Beyer et al., CVPR
    2023, section 3.4) inverts the same matrix where a patch grows.
    """
    identity = torch.eye(patch, dtype=torch.float64)[None]
    transposed = functional.interpolate(identity, size=kernel.shape[-1], mode="linear", align_corners=False)[0]
    return torch.einsum("ia,dcab,jb->dcij", transposed, kernel.double(), transposed).float()


def _translate(key: str, blocks: Sequence[tuple[int, int]]) -> str | None:
    if UNUSED.search(key) and not BLOCK.match(key):
        return None
    match = BLOCK.match(key)
    if match is None:
        return TOP.get(key, key)
    number = int(match[1])
    if number >= len(blocks):
        raise CheckpointError(
            "the weights have more blocks than the configuration",
            expected=f"{len(blocks)} blocks (the sum of depths)",
            got=f"block {number}",
            where=key,
            fix="make the sum of depths the number of the checkpoint's blocks",
        )
    stage, block = blocks[number]
    return renamed(f"stages.{stage}.blocks.{block}.{match[2]}", INSIDE)
