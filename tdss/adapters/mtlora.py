"""MTLoRA (Agiza et al., CVPR 2024) on a Swin: shared low-rank updates everywhere, task-specific ones in last blocks.

The tasks' streams are side branches: only the last block of each stage has task modules, and the shared stream alone
feeds the next stage. With ``a`` the attention's output before its projection, s the scale:

    proj   y_s = W0 a + b + s Bs As a                    y_t = W0 a + b + s Bt At a
    fc1    h_s = GELU(W1 n_s + b1 + s B1s A1s n_s)       h_t = GELU(W1 n_s + b1 + s B1t A1t n_t)
    fc2    m_s = W2 h_s + b2 + s B2s A2s h_s             m_t = W2 h_s + b2 + s B2t A2t h_t

W1 and W2 see the shared stream on every path. Each task's stream passes the stage's PatchMerging and goes to its decoder.
Written from the published equations; the parameter counts of the paper's tables are reproduced by a test.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tdss.adapters.base import Adapter, TaskFeatures
from tdss.adapters.lora import LINEARS, LoraLinear, LowRank
from tdss.backbones.base import BlockTap, StageTap
from tdss.backbones.swin import Swin, SwinBlock, SwinStage
from tdss.config import MtloraConfig
from tdss.linears import linear_at, set_module


class TaskLinear(nn.Module):
    """W0 on the shared stream, the shared update for it, and one update per task on the task's own stream."""

    def __init__(self, linear: nn.Linear, config: MtloraConfig, tasks: Sequence[str]) -> None:
        super().__init__()
        sizes = (linear.in_features, linear.out_features)
        self.linear = linear
        self.shared = LowRank(*sizes, config.rank, config.scale)
        self.tasks = nn.ModuleDict({task: LowRank(*sizes, config.task_rank, config.scale) for task in tasks})

    def forward(self, shared: Tensor, own: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Map the shared stream and each task's, ``[…, in]``, to the same of ``[…, out]``."""
        base = self.linear(shared)
        updates = [update(x) for update, x in zip(self.tasks.values(), own, strict=True)]
        return base + self.shared(shared), [base + update for update in updates]


class TaskProjection(nn.Module):
    """An attention's projection for all streams: shared and every task's, concatenated."""

    def __init__(self, linear: TaskLinear) -> None:
        super().__init__()
        self.streams = linear

    def forward(self, a: Tensor) -> Tensor:
        """Map ``[…, dim]`` to ``[…, (1 + tasks)·dim]``."""
        shared, own = self.streams(a, [a] * len(self.streams.tasks))
        return torch.cat([shared, *own], -1)


class TaskBlock(nn.Module):
    """The last block of a stage: one shared stream in, the shared stream and every task's out."""

    def __init__(self, block: SwinBlock, config: MtloraConfig, tasks: Sequence[str]) -> None:
        super().__init__()
        self.block = block
        self.fc1, self.fc2 = (TaskLinear(linear_at(block, f"mlp.{name}"), config, tasks) for name in ("fc1", "fc2"))
        block.attn.qkv = LoraLinear(block.attn.qkv, config.rank, config.scale)  # type: ignore[assignment]
        block.attn.proj = TaskProjection(TaskLinear(block.attn.proj, config, tasks))  # type: ignore[assignment]
        block.mlp = nn.Identity()  # type: ignore[assignment]  # its linears are in fc1 and fc2

    def forward(self, x: Tensor) -> tuple[Tensor, BlockTap]:
        """Return the shared output and the taps with every task's stream; all are ``[batch, height, width, dim]``."""
        block, tasks = self.block, tuple(self.fc1.tasks)
        attention_input = block.norm1(x)
        streams = [x + block.drop_path(part) for part in block.attend(attention_input).chunk(1 + len(tasks), -1)]
        normed = [block.norm2(stream) for stream in streams]
        shared, own = self.fc1(normed[0], normed[1:])
        shared, own = self.fc2(functional.gelu(shared), [functional.gelu(hidden) for hidden in own])
        outputs = [stream + block.drop_path(part) for stream, part in zip(streams, [shared, *own], strict=True)]
        return outputs[0], BlockTap(attention_input, normed[0], dict(zip(tasks, outputs[1:], strict=True)))


class Mtlora(Adapter):
    """Gives each task its own stream of every stage, after the stage's merging."""

    def __init__(self, config: MtloraConfig, tasks: Sequence[str], backbone: Swin) -> None:
        """Put the updates into ``backbone``, in place."""
        super().__init__()
        self.tasks = tuple(tasks)
        for stage in [module for module in backbone.modules() if isinstance(module, SwinStage)]:
            for block in list(stage.blocks)[:-1]:
                for path in LINEARS:
                    set_module(block, path, LoraLinear(linear_at(block, path), config.rank, config.scale))
            last = stage.blocks[-1]
            if isinstance(last, SwinBlock):
                stage.blocks[-1] = TaskBlock(last, config, tasks)
            if config.reduction and stage.downsample is not None:
                reduction = LoraLinear(stage.downsample.reduction, config.rank, config.scale)
                stage.downsample.reduction = reduction  # type: ignore[assignment]

    def forward(self, taps: Sequence[StageTap]) -> tuple[TaskFeatures, ...]:
        """Return each task's stream of every stage."""
        return tuple({task: (tap.blocks[-1].streams or {})[task] for task in self.tasks} for tap in taps)


def keep_streams(backbone: nn.Module, tasks: Sequence[str]) -> None:
    """Drop, in place, the updates of every task that is not in ``tasks``."""
    for module in backbone.modules():
        if isinstance(module, TaskLinear):
            module.tasks = nn.ModuleDict({task: module.tasks[task] for task in tasks})
