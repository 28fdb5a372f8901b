"""VMT-Adapter and VMT-Adapter-Lite (Xin et al., AAAI 2024) on a Swin: one shared adapter, and a gain and a shift per task.

Only the abstract is public, without code: all below is our reconstruction, not the paper's design. The abstract names three
things. All tasks share an adapter in parallel to the backbone. Each task has few parameters of its own. In the Lite form
the two projections share parameters.

    n    = LN2(x)                            the frozen block's MLP input
    u    = W_up ReLU(W_down n)               W_up starts at 0;  Lite: W_up = W_downᵀ
    x'   = x + MLP(n) + s·u                  every block: the shared stream, which all tasks use
    f_t  = x + MLP(n) + s·(γ_t ⊙ u + β_t)    the last block of a stage: what the task's decoder reads; γ starts at 1, β at 0

So the backbone runs once for any number of tasks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tdss.adapters.base import StreamAdapter
from tdss.adapters.vmt.config import VmtConfig
from tdss.backbones.base import BlockTap, Flow
from tdss.backbones.swin import Swin, SwinBlock, SwinStage
from tdss.linears import take_over
from tdss.part import Part


class SharedAdapter(nn.Module, Part):
    """One block's adapter: s·u for all tasks, and in a stage's last block each task's own version of it."""

    def __init__(self, config: VmtConfig, dim: int, tasks: Sequence[str]) -> None:
        super().__init__()
        self.scale = config.scale
        self.down = nn.Parameter(torch.randn(config.rank, dim) * dim**-0.5)
        self.up = None if config.lite else nn.Parameter(torch.zeros(dim, config.rank))
        self.gain = nn.ParameterDict({task: torch.ones(dim) for task in tasks})
        self.shift = nn.ParameterDict({task: torch.zeros(dim) for task in tasks})

    def forward(self, n: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Map the MLP's input ``[batch, height, width, dim]`` to s·u and each task's s·(γ ⊙ u + β), same shape."""
        hidden = functional.relu(n @ self.down.T)
        update = self.scale * (hidden @ (self.down if self.up is None else self.up.T))
        return update, {task: gain * update + self.scale * self.shift[task] for task, gain in self.gain.items()}

    def keep(self, tasks: Sequence[str]) -> None:
        """Drop the gains and shifts of other tasks."""
        for task in [task for task in self.gain if task not in tasks]:
            del self.gain[task], self.shift[task]


class VmtBlock(SwinBlock):
    """A block with the adapter in parallel to its MLP; it gives the streams of ``tasks``."""

    def __init__(self, block: SwinBlock, config: VmtConfig, tasks: Sequence[str]) -> None:
        take_over(self, block)
        self.vmt = SharedAdapter(config, self.norm2.normalized_shape[0], tasks)

    def forward(self, flow: Flow) -> tuple[Flow, BlockTap]:
        """Return the shared output, and the taps with every task's stream; all are ``[batch, height, width, dim]``."""
        after, tap = super().forward(flow)
        shared, own = self.vmt(tap.mlp)
        streams = {task: after.x + update for task, update in own.items()}
        return Flow(after.x + shared, after.state), tap._replace(streams=streams)


class Vmt(StreamAdapter):
    """VMT-Adapter, or its Lite form, in every block of a Swin."""

    def __init__(self, config: VmtConfig, backbone: Swin, tasks: Sequence[str]) -> None:
        super().__init__(config, backbone, tasks)
        for stage in backbone.stages:
            assert isinstance(stage, SwinStage)
            for index, block in enumerate(stage.blocks):
                assert isinstance(block, SwinBlock)
                stage.blocks[index] = VmtBlock(block, config, tasks if index + 1 == len(stage.blocks) else ())
