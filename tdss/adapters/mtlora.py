"""MTLoRA (Agiza et al., CVPR 2024) on a Swin: shared low-rank updates everywhere, task-specific ones in last blocks.

The tasks' streams are side branches: only the last block of each stage has task modules, and the shared stream alone
feeds the next stage. With ``a`` the attention's output before its projection, s the scale:

    proj   y_s = W0 a + b + s Bs As a                    y_t = W0 a + b + s Bt At a
    fc1    h_s = GELU(W1 n_s + b1 + s B1s A1s n_s)       h_t = GELU(W1 n_s + b1 + s B1t A1t n_t)
    fc2    m_s = W2 h_s + b2 + s B2s A2s h_s             m_t = W2 h_s + b2 + s B2t A2t h_t

W1 and W2 see the shared stream on every path. Each task's stream passes the stage's PatchMerging and goes to its decoder.
Written from the published equations; the parameter counts of the paper's tables are reproduced by a test.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from tdss.adapters.base import StreamAdapter
from tdss.adapters.config import MtloraConfig
from tdss.adapters.lora import LINEARS, LoraLinear, LowRank
from tdss.backbones.base import BlockTap, Flow
from tdss.backbones.swin import Swin, SwinBlock, SwinStage, WindowAttention
from tdss.linears import linear_at, set_module, take_over
from tdss.part import Part

Adapt: TypeAlias = Callable[[nn.Linear], nn.Linear]
"""What makes a linear with updates of a plain one."""


class TaskLinear(nn.Linear, Part):
    """W0 on the shared stream, the shared update for it, and one update per task on the task's own stream."""

    shared: nn.Module

    def __init__(self, linear: nn.Linear, config: MtloraConfig, tasks: Sequence[str]) -> None:
        take_over(self, linear)
        sizes = (linear.in_features, linear.out_features)
        self.shared = LowRank(*sizes, config.rank, config.scale)
        self.tasks = nn.ModuleDict({task: LowRank(*sizes, config.task_rank, config.scale) for task in tasks})

    def keep(self, tasks: Sequence[str]) -> None:
        """Drop the updates of other tasks."""
        self.tasks = nn.ModuleDict({task: self.tasks[task] for task in tasks})

    def forward(self, shared: Tensor, own: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:  # type: ignore[override]
        """Map the shared stream and each task's, ``[…, in]``, to the same of ``[…, out]``."""
        base = super().forward(shared)
        updates = [update(x) for update, x in zip(self.tasks.values(), own, strict=True)]
        return base + self.shared(shared), [base + update for update in updates]


class TaskAttention(WindowAttention):
    """The attention of a last block, whose projection has streams."""

    def __init__(self, attention: WindowAttention) -> None:
        take_over(self, attention)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map ``[batch·windows, window², dim]`` to ``[…, (1 + tasks)·dim]``: shared and every task's, concatenated."""
        mixed = self.mix(*self.project(x), mask)
        shared, own = self.proj(mixed, [mixed] * len(self.proj.tasks))  # type: ignore[arg-type]
        return torch.cat([shared, *own], -1)


class TaskBlock(SwinBlock):
    """The last block of a stage: one shared stream in, the shared stream and every task's out.

    ``shared`` adapts qkv, and ``own`` makes the linears that have streams, as ``TaskLinear``.
    """

    def __init__(self, block: SwinBlock, shared: Adapt, own: Adapt) -> None:
        take_over(self, block)
        self.attn = TaskAttention(block.attn)
        set_module(self, "attn.qkv", shared(self.attn.qkv))
        for path in ("attn.proj", "mlp.fc1", "mlp.fc2"):
            set_module(self, path, own(linear_at(self, path)))

    def forward(self, flow: Flow) -> tuple[Flow, BlockTap]:
        """Return the shared output and the taps with every task's stream; all are ``[batch, height, width, dim]``."""
        x, attention_input = flow.x, self.norm1(flow.x)
        parts = self.attend(attention_input).split(x.shape[-1], -1)
        streams = [x + self.drop_path(part) for part in parts]
        normed = [self.norm2(stream) for stream in streams]
        shared, own = self.mlp.fc1(normed[0], normed[1:])
        shared, own = self.mlp.fc2(functional.gelu(shared), [functional.gelu(hidden) for hidden in own])
        outputs = [stream + self.drop_path(part) for stream, part in zip(streams, [shared, *own], strict=True)]
        named = dict(zip(self.mlp.fc1.tasks, outputs[1:], strict=True))  # type: ignore[arg-type]
        return Flow(outputs[0], flow.state), BlockTap(attention_input, normed[0], named)


class Mtlora(StreamAdapter):
    """Gives each task its own stream of every stage, after the stage's merging."""

    def __init__(self, config: MtloraConfig, backbone: Swin, tasks: Sequence[str]) -> None:
        super().__init__(config, backbone, tasks)

        def shared(linear: nn.Linear) -> nn.Linear:
            return LoraLinear(linear, config.rank, config.scale)

        attach(
            backbone,
            shared,
            lambda linear: TaskLinear(linear, config, tasks),
            shared if config.reduction else lambda linear: linear,
        )


def attach(backbone: Swin, shared: Adapt, own: Adapt, reduction: Adapt) -> None:
    """Give the last block of each stage streams, by ``own``, and adapt other linears by ``shared`` and ``reduction``."""
    for stage in backbone.stages:
        assert isinstance(stage, SwinStage)
        stage.merges_streams = True
        for block in list(stage.blocks)[:-1]:
            for path in LINEARS:
                set_module(block, path, shared(linear_at(block, path)))
        last = stage.blocks[-1]
        assert isinstance(last, SwinBlock)
        stage.blocks[-1] = TaskBlock(last, shared, own)
        if stage.downsample is not None:
            stage.downsample.reduction = reduction(stage.downsample.reduction)
