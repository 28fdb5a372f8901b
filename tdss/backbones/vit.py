"""Vision transformer (Dosovitskiy et al., ICLR 2021) as DINOv2 uses it (Oquab et al., 2023): LayerScale, no last norm.

The image size is fixed when the model is made. So the position table has one row per token and is never interpolated
at run time. Blocks are grouped into stages of one resolution, H/patch × W/patch, so that adapters and decoders see what
a hierarchical backbone gives them. The class token goes through every block; taps and outputs hold patch tokens only.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tdss.backbones.base import Backbone, Block, BlockTap, Flow, Published, Refitted, Stage, StageTap, spread_drop_path
from tdss.backbones.config import BackboneConfig, ImageConfig, VitConfig
from tdss.backbones.swin import DropPath, Mlp
from tdss.backbones.vit_keys import from_published, resize_positions, with_patch


class Attention(nn.Module):
    """Multi-head attention over all tokens; ``scale`` multiplies the queries, a fold sets it to 1."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend: ``[batch, tokens, dim]`` to the same shape."""
        batch, tokens, dim = x.shape
        query, key, value = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if self.scale != 1.0:
            query = query * self.scale
        mixed = (query @ key.transpose(-2, -1)).softmax(-1) @ value
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))  # type: ignore[no-any-return]


class LayerScale(nn.Module):
    """One learned gain per channel (Touvron et al., 2021); a fold merges it into the linear before it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of ``[…, dim]``."""
        return x * self.gain


class VitBlock(Block):
    """One block: x' = x + λ1 ⊙ Attention(LN1 x), then x' + λ2 ⊙ MLP(LN2 x')."""

    def __init__(self, config: VitConfig, size: tuple[int, int], drop: float) -> None:
        super().__init__()
        dim = config.dim
        self.size = size
        self.norm1 = nn.LayerNorm(dim, config.norm_eps)
        self.attn = Attention(dim, config.heads)
        self.scale1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, config.norm_eps)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratio))
        self.scale2 = LayerScale(dim)
        self.drop_path = DropPath(drop)

    def forward(self, flow: Flow) -> tuple[Flow, BlockTap]:
        """Map ``[batch, 1 + height·width, dim]`` to the same shape and the patch tokens' taps."""
        attention_input = self.norm1(flow.x)
        x = flow.x + self.drop_path(self.scale1(self.attn(attention_input)))
        mlp_input = self.norm2(x)
        tap = BlockTap(patches(attention_input, self.size), patches(mlp_input, self.size))
        return Flow(x + self.drop_path(self.scale2(self.mlp(mlp_input))), flow.state), tap


class VitStage(Stage):
    """A run of blocks whose last output is a tap."""

    def __init__(self, config: VitConfig, size: tuple[int, int], drops: tuple[float, ...]) -> None:
        super().__init__()
        self.size = size
        self.blocks = nn.ModuleList(VitBlock(config, size, drop) for drop in drops)

    def leave(self, flow: Flow, taps: Sequence[BlockTap]) -> tuple[Flow, StageTap]:
        """Return the tokens for the next stage, ``[batch, 1 + height·width, dim]``, and this stage's tap."""
        return flow, StageTap(tuple(taps), patches(flow.x, self.size))


class Vit(Backbone):
    """The backbone: an image to one ``StageTap`` per stage, all of one size and width."""

    def __init__(self, config: VitConfig, image: ImageConfig) -> None:
        super().__init__()
        self.config = config
        size = (image.height // config.patch, image.width // config.patch)
        self.sizes = tuple(size for _ in config.depths)
        self.patch_embed = nn.Conv2d(3, config.dim, config.patch, stride=config.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.positions = nn.Parameter(torch.zeros(1, 1 + size[0] * size[1], config.dim))
        for token in (self.class_token, self.positions):
            nn.init.trunc_normal_(token, std=0.02)
        self.stages = nn.ModuleList(VitStage(config, size, drops) for drops in spread_drop_path(config))

    def embed(self, image: Tensor) -> Tensor:
        """Map ``[batch, 3, height, width]`` to the class token and the patches, ``[batch, 1 + height·width, dim]``."""
        tokens = self.patch_embed(image).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], 1) + self.positions

    @staticmethod
    def refit(weights: Mapping[str, Tensor], config: BackboneConfig, old: ImageConfig, new: ImageConfig) -> Refitted:
        """See ``Backbone.refit``: the position table is interpolated, as DINOv2 does it without registers."""
        assert isinstance(config, VitConfig)
        source, grid = ((image.height // config.patch, image.width // config.patch) for image in (old, new))
        positions = resize_positions(weights["positions"], grid, source)
        if source == grid:
            return Refitted(dict(weights), ())
        change = (
            f"positions interpolated from {source[0]} × {source[1]} to {grid[0]} × {grid[1]}: bicubic, no antialiasing"
        )
        return Refitted({**weights, "positions": positions}, (change,))

    @staticmethod
    def translate(weights: Mapping[str, Tensor], config: BackboneConfig, image: ImageConfig) -> Published:
        """See ``Backbone.translate``; a patch embedding of another patch is resized."""
        assert isinstance(config, VitConfig)
        grid = (image.height // config.patch, image.width // config.patch)
        return with_patch(from_published(weights, config.depths, grid), config.patch)


def patches(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Drop the class token and lay the patch tokens out: ``[batch, 1 + h·w, dim]`` to ``[batch, h, w, dim]``."""
    return tokens[:, 1:].reshape(len(tokens), *size, -1)
