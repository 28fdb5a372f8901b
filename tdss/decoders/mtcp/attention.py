"""CBAM, and MT-CP's coherence fusion: where the other tasks are alike, a task's own map is mixed.

CBAM (Woo et al., ECCV 2018), of a map x:

    c = σ(M(mean x) + M(max x))              over the pixels; M is Linear, ReLU, Linear, with a sixteenth of the channels
    y = c ⊙ x,  CBAM(x) = σ(BN(Conv7×7[max y ; mean y])) ⊙ y        max and mean over the channels

Fusion of a task's map x with the maps x_o of the others; N is a CBAM and a batch norm:

    m   = ReLU(Conv1×1[x_o ⊙ σ(Conv1×1 x_o)])                       all others joined
    A   = softmax(ReLU(N_q m)ᵀ ReLU(N_k m))                         positions × positions, not scaled
    f   = N_f(A · N_v x)                                            no residual
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

REDUCTION = 16


class Cbam(nn.Module):
    """A gate of the channels, then one of the positions; ``[batch, channels, height, width]`` keeps its shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // REDUCTION, 1)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """Gate a map."""
        gates = [self.excite(functional.relu(self.squeeze(pooled))) for pooled in (x.mean((2, 3)), x.amax((2, 3)))]
        y = x * torch.sigmoid(gates[0] + gates[1])[:, :, None, None]
        pooled = torch.cat([y.amax(1, keepdim=True), y.mean(1, keepdim=True)], 1)
        return y * torch.sigmoid(self.norm(self.spatial(pooled)))


def normed_cbam(channels: int) -> nn.Sequential:
    """Return a CBAM and a batch norm."""
    return nn.Sequential(Cbam(channels), nn.BatchNorm2d(channels))


class Fusion(nn.Module):
    """A task's map mixed by the affinity of positions in the other tasks' maps; all are ``[batch, width, height, width]``."""

    def __init__(self, width: int, others: int) -> None:
        super().__init__()
        self.gates = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(others))
        self.mix = nn.Conv2d(others * width, others * width, 1)
        self.query, self.key = normed_cbam(others * width), normed_cbam(others * width)
        self.value, self.fused = normed_cbam(width), normed_cbam(width)

    def forward(self, own: Tensor, others: Sequence[Tensor]) -> Tensor:
        """Return ``own``, mixed."""
        gated = [x * torch.sigmoid(gate(x)) for gate, x in zip(self.gates, others, strict=True)]
        mixed = functional.relu(self.mix(torch.cat(gated, 1)))
        query, key = (functional.relu(side(mixed)).flatten(2) for side in (self.query, self.key))
        affinity = (query.transpose(1, 2) @ key).softmax(-1)
        value = self.value(own).flatten(2).transpose(1, 2)
        return self.fused((affinity @ value).transpose(1, 2).reshape(own.shape))  # type: ignore[no-any-return]
