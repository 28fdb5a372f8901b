"""TADFormer (Baek et al., CVPR 2025) on a Swin: a prompt per task, and per-task filters of one shared low-rank update.

Prompts p are one token per task. They join every window of their image, without position bias and shift mask. With
``a_p`` a prompt's attention output, W* a linear with its shared update, MLP* the MLP of such linears:

    p ← p + MLP*(LN2(W*_proj mean over windows of a_p))      with LN1 before the attention, and no residual over it
    p ← U p                                                  between stages

In the last block of a stage the tasks part. With ``f`` the attention's output of a window's positions, A and B the update,
s its scale, F the filter:

    skip_t  = GELU(q_p Kᵀ) ⊗ f, per head, unscaled           f_t = LN(skip_t + f)
    proj    y_t = W0 f + b + s B F(A f_t)                    W0 sees the shared stream on every path, as in MTLoRA;
    fc1     h_t = GELU(W1 n_s + b1 + s B1 F(A1 n_t))         the shared update is not in a task's
    fc2     m_t = W2 h_s + b2 + s B2 F(A2 h_t)
    stage   σ(g)·skip_t + (1 − σ(g))·output_t                g one number per stage, before PatchMerging

F is a depthwise 3×3 convolution, in proj within a window. ``static``: one with bias for each task. ``dynamic``: its taps
are gain ⊙ norm(G mean(A f_t) + c) + shift, and all tasks share G. The mean is over positions. The norm subtracts the mean
of a channel's nine taps and divides by their standard deviation, with n − 1.

The release computes qkv and the projection of the prompts in every window. Both are affine, so here they are computed once
per image.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tdss.adapters.base import StreamAdapter
from tdss.adapters.lora import LoraLinear
from tdss.adapters.tadformer.config import TadformerConfig
from tdss.backbones.base import BlockTap, Flow
from tdss.backbones.swin import Mlp, PatchMerging, Swin, SwinBlock, SwinStage, WindowAttention
from tdss.linears import linear_at, set_module, take_over
from tdss.part import Part

PROMPTS = "prompts"
SIDE = 3  # of a filter, in positions
TAPS = SIDE * SIDE
EPSILON = 1e-10  # FilterNorm's, added to the standard deviation


class Prompts(nn.Module):
    """The prompts as the state that flows through the blocks, ``[batch, tasks, dim]``."""

    def __init__(self, tasks: int, dim: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(tasks, dim))
        nn.init.trunc_normal_(self.tokens, mean=1.0, std=1.0)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the prompts of each image of the embedded batch ``x``."""
        return {PROMPTS: self.tokens.expand(x.shape[0], -1, -1)}


class DynamicFilter(nn.Module):
    """A depthwise 3×3 convolution whose taps come from its own input, by the same weights for every task."""

    def __init__(self, rank: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.generate = nn.Linear(rank, TAPS * rank)
        self.gain = nn.Parameter(torch.randn(TAPS * rank) * 2**0.5 / SIDE)
        self.shift = nn.Parameter(torch.randn(TAPS * rank))

    def taps(self, x: Tensor) -> Tensor:
        """Make the taps of ``[batch, height, width, rank]``: ``[batch, rank, 9]``, row by row."""
        raw = self.generate(x.mean((1, 2))).unflatten(-1, (-1, TAPS))
        centred: Tensor = raw - raw.mean(-1, keepdim=True)
        deviation = (centred.square().sum(-1, keepdim=True) / (TAPS - 1)).sqrt()
        return centred / (deviation + EPSILON) * self.gain.view(-1, TAPS) + self.shift.view(-1, TAPS)

    def forward(self, x: Tensor, task: str) -> Tensor:
        """Filter ``[batch, height, width, rank]``, with zeros beyond the border."""
        batch, height, width, rank = x.shape
        channels = x.permute(0, 3, 1, 2).reshape(1, batch * rank, height, width)
        taps = self.taps(x).reshape(batch * rank, 1, SIDE, SIDE)
        filtered = functional.conv2d(channels, taps, padding=1, groups=batch * rank)
        return filtered.view(batch, rank, height, width).permute(0, 2, 3, 1)


class StaticFilter(nn.ModuleDict, Part):
    """A depthwise 3×3 convolution for each task."""

    def __init__(self, rank: int, tasks: Sequence[str]) -> None:
        super().__init__({task: nn.Conv2d(rank, rank, SIDE, padding=1, groups=rank) for task in tasks})

    def keep(self, tasks: Sequence[str]) -> None:
        """Drop the filters of other tasks."""
        for task in [task for task in self if task not in tasks]:
            del self[task]

    def forward(self, x: Tensor, task: str) -> Tensor:
        """Filter ``[batch, height, width, rank]``, with zeros beyond the border."""
        return self[task](x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


FILTERS = {"dynamic": DynamicFilter, "static": StaticFilter}


class FilteredLinear(LoraLinear):
    """A linear with its update, and the tasks' filters between the two matrices of that."""

    def __init__(self, linear: nn.Linear, config: TadformerConfig, tasks: Sequence[str]) -> None:
        super().__init__(linear, config.rank, config.scale)
        self.filter = FILTERS[config.filter](config.rank, tasks)

    def streams(self, shared: Tensor, own: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Map the shared stream and each task's, ``[batch, height, width, in]``, to the same of ``[…, out]``."""
        base = nn.Linear.forward(self, shared)
        down, up, scale = self.update.down.T, self.update.up.T, self.update.scale
        filtered = {task: self.filter(x @ down, task) for task, x in own.items()}
        return base + self.update(shared), {task: base + scale * (x @ up) for task, x in filtered.items()}


class PromptAttention(WindowAttention):
    """Window attention in which the prompts of the image precede a window's positions."""

    def __init__(self, attention: WindowAttention) -> None:
        take_over(self, attention)

    def forward(self, x: Tensor, mask: Tensor | None, prompts: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Attend within windows; return ``[batch·windows, window², dim]``, and the prompts ``[batch, tasks, dim]``."""
        mixed, averaged, _, _ = self.attend(x, mask, prompts)
        return self.proj(mixed), self.proj(averaged)

    def attend(self, x: Tensor, mask: Tensor | None, prompts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what the projection gets of positions and prompts, the prompts' queries and the positions' keys."""
        (batch, count, _), windows = prompts.shape, x.shape[0] // prompts.shape[0]
        repeated = [part[:, None].expand(-1, windows, -1, -1, -1).flatten(0, 1) for part in self.project(prompts)]
        own = self.project(x)
        tokens = [torch.cat(pair, 2) for pair in zip(repeated, own, strict=True)]
        mixed = self.mix(tokens[0], tokens[1], tokens[2], mask, before=count)
        averaged = mixed[:, :count].unflatten(0, (batch, windows)).mean(1)
        return mixed[:, count:], averaged, repeated[0], own[1]


class TaskAttention(PromptAttention, Part):
    """The attention of a last block: every task weighs the positions by its prompt. The prompts of all trained tasks stay."""

    proj: FilteredLinear

    def __init__(self, attention: WindowAttention, config: TadformerConfig, tasks: Sequence[str]) -> None:
        super().__init__(attention)
        self.proj = FilteredLinear(attention.proj, config, tasks)
        self.scrambled = config.skip == "scrambled"
        self.prompt_norm = nn.LayerNorm(attention.proj.in_features)
        self.rows = {task: row for row, task in enumerate(tasks)}

    def keep(self, tasks: Sequence[str]) -> None:
        """Answer these tasks only."""
        self.rows = {task: self.rows[task] for task in tasks}

    def skips(self, mixed: Tensor, query: Tensor, key: Tensor) -> dict[str, Tensor]:
        """Weigh ``[batch·windows, window², dim]`` by how each task's prompt matches a position, in each head."""
        matches = functional.gelu(query @ key.transpose(-2, -1)).transpose(1, 2)[..., None]
        heads = mixed.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return {task: (matches[:, row] * heads).transpose(1, 2).flatten(2) for task, row in self.rows.items()}

    def streams(
        self, x: Tensor, mask: Tensor | None, prompts: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Return shared positions, prompts, each task's positions and its skip feature; see ``forward``."""
        mixed, averaged, query, key = self.attend(x, mask, prompts)
        skips = self.skips(mixed, query, key)
        window = (self.window, self.window)
        own = {task: self.prompt_norm(skip + mixed).unflatten(1, window) for task, skip in skips.items()}
        shared, own = self.proj.streams(mixed.unflatten(1, window), own)
        if self.scrambled:
            skips = {task: skip.transpose(1, 2).reshape(skip.shape) for task, skip in skips.items()}
        return shared, self.proj(averaged), own, skips


class TaskMlp(Mlp):
    """The MLP of a last block; called as it is, it maps the prompts."""

    fc1: FilteredLinear
    fc2: FilteredLinear

    def __init__(self, mlp: Mlp, config: TadformerConfig, tasks: Sequence[str]) -> None:
        take_over(self, mlp)
        self.fc1 = FilteredLinear(mlp.fc1, config, tasks)
        self.fc2 = FilteredLinear(mlp.fc2, config, tasks)

    def streams(self, shared: Tensor, own: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Map the shared stream and each task's, ``[batch, height, width, dim]``, to the same."""
        shared, own = self.fc1.streams(shared, own)
        return self.fc2.streams(
            functional.gelu(shared), {task: functional.gelu(hidden) for task, hidden in own.items()}
        )


class PromptBlock(SwinBlock):
    """A block that carries the prompts along."""

    def __init__(self, block: SwinBlock, config: TadformerConfig) -> None:
        take_over(self, block)
        set_module(self, "attn", PromptAttention(self.attn))
        self.adapt(("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"), config)

    def adapt(self, paths: Sequence[str], config: TadformerConfig) -> None:
        """Give the linears at ``paths`` their update."""
        for path in paths:
            set_module(self, path, LoraLinear(linear_at(self, path), config.rank, config.scale))

    def forward(self, flow: Flow) -> tuple[Flow, BlockTap]:
        """Return the block's output with the prompts after it, and its taps."""
        normed, prompts = self.norm1(flow.x), flow.state[PROMPTS]
        windows, averaged = self.attn(self.cut(normed), self.mask, self.norm1(prompts))
        x = flow.x + self.drop_path(self.join(windows))
        mlp_input = self.norm2(x)
        output = x + self.drop_path(self.mlp(mlp_input))
        return self.flow(output, flow, averaged), BlockTap(normed, mlp_input)

    def flow(self, output: Tensor, flow: Flow, averaged: Tensor) -> Flow:
        """Return the flow after the block, with the prompts after its MLP."""
        prompts = flow.state[PROMPTS] + self.drop_path(self.mlp(self.norm2(averaged)))
        return Flow(output, {**flow.state, PROMPTS: prompts})


class TaskBlock(PromptBlock):
    """The last block of a stage: one shared stream in, the shared stream and every task's out."""

    attn: TaskAttention
    mlp: TaskMlp

    def __init__(self, block: SwinBlock, config: TadformerConfig, tasks: Sequence[str]) -> None:
        take_over(self, block)
        self.attn = TaskAttention(block.attn, config, tasks)
        self.adapt(("attn.qkv",), config)
        self.mlp = TaskMlp(block.mlp, config, tasks)
        self.skip_gate = nn.Parameter(torch.zeros(1))

    def forward(self, flow: Flow) -> tuple[Flow, BlockTap]:
        """Return the shared output with the prompts after it, and the taps with every task's stream."""
        normed = self.norm1(flow.x)
        windows, averaged, own, skips = self.attn.streams(self.cut(normed), self.mask, self.norm1(flow.state[PROMPTS]))
        x = flow.x + self.drop_path(self.join(windows))
        streams = {task: flow.x + self.drop_path(self.join(part)) for task, part in own.items()}
        mlp_input = self.norm2(x)
        shared, own = self.mlp.streams(mlp_input, {task: self.norm2(stream) for task, stream in streams.items()})
        gate = self.skip_gate.sigmoid()
        gated = {
            task: gate * self.join(skips[task]) + (1 - gate) * (stream + self.drop_path(own[task]))
            for task, stream in streams.items()
        }
        return self.flow(x + self.drop_path(shared), flow, averaged), BlockTap(normed, mlp_input, gated)


class PromptMerging(PatchMerging):
    """A merging that widens the prompts too."""

    def __init__(self, merging: PatchMerging) -> None:
        take_over(self, merging)
        rows, columns = merging.reduction.weight.shape
        self.prompts_up = nn.Linear(columns // 4, rows, bias=False)
        nn.init.trunc_normal_(self.prompts_up.weight, std=0.02)

    def advance(self, flow: Flow) -> Flow:
        """Return the flow into the next stage."""
        return Flow(self(flow.x), {**flow.state, PROMPTS: self.prompts_up(flow.state[PROMPTS])})


class Tadformer(StreamAdapter):
    """Gives each task its own stream of every stage, after the stage's merging."""

    def __init__(self, config: TadformerConfig, backbone: Swin, tasks: Sequence[str]) -> None:
        super().__init__(config, backbone, tasks)
        backbone.state = Prompts(len(tasks), backbone.config.embed_dim)
        for stage in backbone.stages:
            assert isinstance(stage, SwinStage)
            stage.merges_streams = True
            blocks = [block for block in stage.blocks if isinstance(block, SwinBlock)]
            stage.blocks = nn.ModuleList(
                [*(PromptBlock(block, config) for block in blocks[:-1]), TaskBlock(blocks[-1], config, tasks)]
            )
            if stage.downsample is not None:
                stage.downsample = PromptMerging(stage.downsample)
