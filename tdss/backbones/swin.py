"""Swin transformer (Liu et al., ICCV 2021, arXiv:2103.14030), without the classifier and its last norm.

Feature maps are ``[batch, height, width, channels]`` throughout. The image size is fixed when the model is made,
so windows, shifts and masks are constants. Where a map is not a multiple of the window it is padded with zeros
after the norm. A map that is no larger than the window is not shifted. Both are as in the published code.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tdss.backbones.base import Backbone, Block, BlockTap, Flow, Published, Refitted, Stage, StageTap, spread_drop_path
from tdss.backbones.config import BackboneConfig, ImageConfig, SwinConfig
from tdss.backbones.swin_keys import from_published


def relative_position_index(window: int) -> Tensor:
    """Return, for each pair of a window's positions, its row of the bias table: int64 ``[window², window²]``."""
    axis = torch.arange(window)
    rows, columns = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    dy = rows[:, None] - rows[None, :] + window - 1
    dx = columns[:, None] - columns[None, :] + window - 1
    return dy * (2 * window - 1) + dx


def shift_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Return what is added to the logits so that a shifted window attends within its own region only.

    Regions that the cyclic shift brought together get −100, as in the published code:
    float32 ``[windows, window², window²]``.
    """
    regions = torch.zeros(height, width)
    cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((r, c) for r in cuts for c in cuts):
        regions[rows, columns] = number
    flat = partition(regions[None, :, :, None], window).squeeze(-1)
    return torch.where(flat[:, None, :] == flat[:, :, None], 0.0, -100.0)


def partition(x: Tensor, window: int) -> Tensor:
    """Cut ``[batch, height, width, channels]`` into ``[batch·windows, window², channels]``."""
    batch, height, width, channels = x.shape
    grid = x.view(batch, height // window, window, width // window, window, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)


def unpartition(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Undo ``partition``: ``[batch·windows, window², channels]`` to ``[batch, height, width, channels]``."""
    channels = windows.shape[-1]
    grid = windows.view(-1, height // window, width // window, window, window, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)


def _beside(tokens: int, x: Tensor) -> Tensor:
    """Put zeros for ``tokens`` before the rows and columns of ``[…, window², window²]``."""
    return functional.pad(x, (tokens, 0, tokens, 0)) if tokens else x


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned relative position bias.

    ``scale`` multiplies the queries; a fold sets it to 1 once it is merged into ``qkv``.
    """

    index: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        self.register_buffer("index", relative_position_index(window), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows: ``[batch·windows, window², dim]`` to the same shape."""
        return self.proj(self.mix(*self.project(x), mask))  # type: ignore[no-any-return]

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value of ``[batch·windows, tokens, dim]``, each ``[batch·windows, heads, tokens, dim/heads]``."""
        count, tokens, _ = x.shape
        query, key, value = self.qkv(x).view(count, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value

    def mix(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, before: int = 0) -> Tensor:
        """Return the values by attention, before the projection: ``[batch·windows, tokens, dim]``.

        Neither the position bias nor ``mask`` acts on the first ``before`` tokens of a window.
        """
        count, _, tokens, _ = query.shape
        if self.scale != 1.0:
            query = query * self.scale
        logits = query @ key.transpose(-2, -1) + _beside(before, self.bias_table[self.index].permute(2, 0, 1))
        if mask is not None:
            grouped = logits.view(-1, mask.shape[0], self.heads, tokens, tokens) + _beside(before, mask)[:, None]
            logits = grouped.view(count, self.heads, tokens, tokens)
        return (logits.softmax(-1) @ value).transpose(1, 2).reshape(count, tokens, -1)


class Mlp(nn.Module):
    """Two linears with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[…, dim]`` to ``[…, dim]``."""
        return self.fc2(functional.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class DropPath(nn.Module):
    """Drop a residual branch per sample with probability ``p`` while training (Huang et al., 2016)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, or a per-sample mix of 0 and x/(1−p) while training."""
        if not self.training or self.p == 0.0:
            return x
        keep = torch.rand(x.shape[0], *(1,) * (x.dim() - 1), device=x.device) >= self.p
        return x * keep.to(x.dtype) / (1.0 - self.p)


class SwinBlock(Block):
    """One block: x' = x + Attention(LN1 x), then x' + MLP(LN2 x')."""

    mask: Tensor | None

    def __init__(
        self, dim: int, heads: int, *, window: int, shifted: bool, size: tuple[int, int], mlp: float, drop: float
    ) -> None:
        super().__init__()
        self.window = window
        self.size = size
        self.padded = (-(-size[0] // window) * window, -(-size[1] // window) * window)
        self.shift = window // 2 if shifted and min(size) > window else 0
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp))
        self.drop_path = DropPath(drop)
        mask = shift_mask(self.padded[0], self.padded[1], window, self.shift) if self.shift else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, flow: Flow) -> tuple[Flow, BlockTap]:
        """Return the block's output and its taps; all are ``[batch, height, width, dim]``."""
        attention_input = self.norm1(flow.x)
        x = flow.x + self.drop_path(self.attend(attention_input))
        mlp_input = self.norm2(x)
        return Flow(x + self.drop_path(self.mlp(mlp_input)), flow.state), BlockTap(attention_input, mlp_input)

    def attend(self, x: Tensor) -> Tensor:
        """Attend within (shifted) windows: ``[batch, height, width, dim]`` to the same, or more, channels."""
        return self.join(self.attn(self.cut(x), self.mask))

    def cut(self, x: Tensor) -> Tensor:
        """Pad, shift and cut ``[batch, height, width, dim]`` into ``[batch·windows, window², dim]``."""
        (height, width), (padded_height, padded_width) = self.size, self.padded
        if self.padded != self.size:
            x = functional.pad(x, (0, 0, 0, padded_width - width, 0, padded_height - height))
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        return partition(x, self.window)

    def join(self, windows: Tensor) -> Tensor:
        """Undo ``cut``: ``[batch·windows, window², channels]`` to ``[batch, height, width, channels]``."""
        (height, width), (padded_height, padded_width) = self.size, self.padded
        x = unpartition(windows, self.window, padded_height, padded_width)
        if self.shift:
            x = x.roll((self.shift, self.shift), (1, 2))
        return x[:, :height, :width] if self.padded != self.size else x


class PatchMerging(nn.Module):
    """Halve a map: 2×2 neighbours concatenated, normed, 4·dim reduced to 2·dim. Odd sides are padded with zeros."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def advance(self, flow: Flow) -> Flow:
        """Return the flow into the next stage; a merging that carries state along overrides this."""
        return Flow(self(flow.x), flow.state)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, height, width, dim]`` to ``[batch, ⌈height/2⌉, ⌈width/2⌉, 2·dim]``."""
        height, width = x.shape[1:3]
        if height % 2 or width % 2:
            x = functional.pad(x, (0, 0, 0, width % 2, 0, height % 2))
        corners = (x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2])
        return self.reduction(self.norm(torch.cat(corners, -1)))  # type: ignore[no-any-return]


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens, then a LayerNorm."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``[batch, 3, height, width]`` to ``[batch, ⌈height/patch⌉, ⌈width/patch⌉, dim]``."""
        height, width = image.shape[2:]
        if height % self.patch or width % self.patch:
            image = functional.pad(image, (0, -width % self.patch, 0, -height % self.patch))
        return self.norm(self.proj(image).permute(0, 2, 3, 1))  # type: ignore[no-any-return]


class SwinStage(Stage):
    """Blocks of one resolution, and the merging that leads to the next stage (none in the last).

    ``merges_streams`` True sends the streams that tasks have of their own through the merging too.
    """

    merges_streams = False

    def __init__(self, config: SwinConfig, stage: int, size: tuple[int, int], drops: tuple[float, ...]) -> None:
        super().__init__()
        dim = config.width(stage)
        self.blocks = nn.ModuleList(
            SwinBlock(
                dim,
                config.heads[stage],
                window=config.window,
                shifted=block % 2 == 1,
                size=size,
                mlp=config.mlp_ratio,
                drop=drops[block],
            )
            for block in range(config.depths[stage])
        )
        self.downsample = PatchMerging(dim) if stage + 1 < len(config.depths) else None

    def leave(self, flow: Flow, taps: Sequence[BlockTap]) -> tuple[Flow, StageTap]:
        """See ``Stage.leave``."""
        merge = self.downsample
        if merge is None:
            return flow, StageTap(tuple(taps), flow.x)
        if self.merges_streams and taps[-1].streams is not None:
            streams = {task: merge(x) for task, x in taps[-1].streams.items()}
            taps = [*taps[:-1], taps[-1]._replace(streams=streams)]
        return merge.advance(flow), StageTap(tuple(taps), flow.x)


class Swin(Backbone):
    """The backbone: an image to one ``StageTap`` per stage."""

    def __init__(self, config: SwinConfig, image: ImageConfig) -> None:
        super().__init__()
        self.config: SwinConfig = config
        self.sizes = stage_sizes(config, image)
        self.patch_embed = PatchEmbed(config.patch, config.embed_dim)
        self.stages = nn.ModuleList(
            SwinStage(config, stage, size, drops)
            for stage, (size, drops) in enumerate(zip(self.sizes, spread_drop_path(config), strict=True))
        )
        self.apply(_initialise)

    def embed(self, image: Tensor) -> Tensor:
        """Map ``[batch, 3, height, width]`` to tokens ``[batch, ⌈height/patch⌉, ⌈width/patch⌉, embed_dim]``."""
        return self.patch_embed(image)  # type: ignore[no-any-return]

    @staticmethod
    def refit(weights: Mapping[str, Tensor], config: BackboneConfig, old: ImageConfig, new: ImageConfig) -> Refitted:
        """See ``Backbone.refit``: position biases are within a window, so no tensor changes; other maps may be padded."""
        assert isinstance(config, SwinConfig)
        return Refitted(dict(weights), (_windows(config, new),))

    @staticmethod
    def translate(weights: Mapping[str, Tensor], config: BackboneConfig, image: ImageConfig) -> Published:
        """See ``Backbone.translate``."""
        assert isinstance(config, SwinConfig)
        return from_published(weights, config.window)


def _windows(config: SwinConfig, image: ImageConfig) -> str:
    """Say which maps are no multiple of the window, and get rows or columns of zeros."""
    padded = [
        f"stage {stage}, {height} × {width}"
        for stage, (height, width) in enumerate(stage_sizes(config, image))
        if height % config.window or width % config.window
    ]
    window = f"windows of {config.window} × {config.window}"
    return f"{window}, padded with zeros in {'; '.join(padded)}" if padded else f"{window} fit every stage"


def stage_sizes(config: SwinConfig, image: ImageConfig) -> tuple[tuple[int, int], ...]:
    """Return (height, width) of each stage's map."""
    height, width = -(-image.height // config.patch), -(-image.width // config.patch)
    sizes = []
    for _ in config.depths:
        sizes.append((height, width))
        height, width = -(-height // 2), -(-width // 2)
    return tuple(sizes)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
