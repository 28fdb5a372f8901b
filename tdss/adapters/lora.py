"""Low-rank adaptation (Hu et al., ICLR 2022, arXiv:2106.09685) and scale-shift (SSF, Lian et al., NeurIPS 2022).

    LoRA   y = W x + b + s·B A x        A ``[rank, in]``, B ``[out, rank]`` starts at 0; s is used as it is (MTLoRA: 4)
    SSF    y = γ ⊙ (W x + b) + β        γ starts at 1, β at 0

Both act inside the frozen backbone's linears; folding composes them with W and b.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tdss.adapters.base import Adapter, TaskFeatures
from tdss.backbones.base import StageTap
from tdss.backbones.swin import SwinBlock
from tdss.backbones.vit import VitBlock
from tdss.linears import linear_at, set_module

LINEARS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


class LowRank(nn.Module):
    """The update alone: s·B A x."""

    def __init__(self, inputs: int, outputs: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[…, in]`` to ``[…, out]``."""
        return self.scale * (x @ self.down.T @ self.up.T)


class LoraLinear(nn.Module):
    """A linear with its update."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.linear = linear
        self.update = LowRank(linear.in_features, linear.out_features, rank, scale)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[…, in]`` to ``[…, out]``."""
        return self.linear(x) + self.update(x)  # type: ignore[no-any-return]


class ScaledLinear(nn.Module):
    """A linear with a gain and a shift per output channel."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        self.gain = nn.Parameter(torch.ones(linear.out_features))
        self.shift = nn.Parameter(torch.zeros(linear.out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[…, in]`` to ``[…, out]``."""
        return self.gain * self.linear(x) + self.shift  # type: ignore[no-any-return]


class Ssf(Adapter):
    """SSF after every linear of every block; all tasks read the same, scaled backbone."""

    def __init__(self, tasks: Sequence[str], backbone: nn.Module) -> None:
        """Put the gains and shifts into ``backbone``, in place."""
        super().__init__()
        self.tasks = tuple(tasks)
        for block in [module for module in backbone.modules() if isinstance(module, SwinBlock | VitBlock)]:
            for path in LINEARS:
                set_module(block, path, ScaledLinear(linear_at(block, path)))

    def forward(self, taps: Sequence[StageTap]) -> tuple[TaskFeatures, ...]:
        """Return each stage's output for every task."""
        return tuple(dict.fromkeys(self.tasks, tap.output) for tap in taps)
