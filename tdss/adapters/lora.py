"""Low-rank adaptation (Hu et al., ICLR 2022, arXiv:2106.09685) and scale-shift (SSF, Lian et al., NeurIPS 2022).

    LoRA   y = W x + b + s·B A x        A ``[rank, in]``, B ``[out, rank]`` starts at 0; s is used as it is (MTLoRA: 4)
    SSF    y = γ ⊙ (W x + b) + β        γ starts at 1, β at 0

Both act inside the frozen backbone's linears, whose W and b keep their names; folding composes them with W and b.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tdss.adapters.base import Adapter
from tdss.adapters.config import SsfConfig
from tdss.backbones.base import Backbone
from tdss.linears import linear_at, set_module, take_over

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


class LoraLinear(nn.Linear):
    """A linear with its update."""

    def __init__(self, linear: nn.Linear, rank: int, scale: float) -> None:
        take_over(self, linear)
        self.update = LowRank(linear.in_features, linear.out_features, rank, scale)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[…, in]`` to ``[…, out]``."""
        return super().forward(x) + self.update(x)  # type: ignore[no-any-return]


class ScaledLinear(nn.Linear):
    """A linear with a gain and a shift per output channel."""

    def __init__(self, linear: nn.Linear) -> None:
        take_over(self, linear)
        self.gain = nn.Parameter(torch.ones(linear.out_features))
        self.shift = nn.Parameter(torch.zeros(linear.out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[…, in]`` to ``[…, out]``."""
        return self.gain * super().forward(x) + self.shift


class Ssf(Adapter):
    """SSF after every linear of every block; all tasks read the same, scaled backbone."""

    def __init__(self, config: SsfConfig, backbone: Backbone, tasks: Sequence[str]) -> None:
        super().__init__(config, backbone, tasks)
        for blocks, index in backbone.blocks():
            for path in LINEARS:
                set_module(blocks[index], path, ScaledLinear(linear_at(blocks[index], path)))
