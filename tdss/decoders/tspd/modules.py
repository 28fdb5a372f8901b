"""TS-PD (FAAR, CVPR 2026): hrnet's decoder, whose joined maps pass two steps in the frequency domain.

X is the spectrum of a task's downsampled maps on one grid, all branches joined. F̄ is the mean of the other tasks' X. There is
one α per branch, one γ and one β per channel, and one δ per channel and bin of radii.

    CW-SP     y = x + α(γ ⊙ irfft2((1 + δ[bin]) ⊙ X) + β),   so   F = (1 + αγ(1 + δ[bin])) ⊙ X + αβ at frequency 0
    XT-Cons   low band    F ← F/(|F| + 1e-6) · (|F| + s_L(γ_L|F̄| − |F|)),     s_L = 0.5 σ(a_L)
              edge band   F ← F + s_H·mask·(γ_E·F̄ − F),                        s_H = 0.3 σ(a_H)

a and γ_L, γ_E are one number per branch. F becomes a map again, and goes through hrnet's two convolutions. A task's output
needs every other task's maps, also where it alone is answered. A model of one task has no XT-Cons.
Written from the released code's equations; its numbers are reproduced by tests.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tdss.adapters.base import TaskFeatures
from tdss.decoders.base import Decoders, Sizes
from tdss.decoders.hrnet import HrnetHead, downsamplers
from tdss.decoders.tspd.config import TspdConfig
from tdss.decoders.tspd.spectrum import Inverse, Transform, bands, register

ALPHA = 0.6
CAPS = (0.5, 0.3)  # how far the low and the edge band may go to the other tasks' mean
SMALL = 1e-6


class Consensus(nn.Module):
    """XT-Cons: the low and the edge band of a spectrum go to the mean of the other tasks' spectra."""

    low: Tensor
    edge: Tensor

    def __init__(self, widths: Sequence[int], low: Tensor, edge: Tensor) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.rates = nn.Parameter(torch.zeros(2, len(widths)))
        self.scales = nn.Parameter(torch.ones(2, len(widths)))
        register(self, "low", low.to(edge.dtype))
        register(self, "edge", edge)

    def forward(self, own: Tensor, others: Tensor) -> Tensor:
        """Map two ``[batch, channels, 2, rows, columns]`` to one of the same shape."""
        low_rate, edge_rate = (cap * rate.sigmoid() for cap, rate in zip(CAPS, self.rates, strict=True))
        low_pull, edge_pull = low_rate * self.scales[0], edge_rate * self.scales[1]
        size, goal = (torch.linalg.vector_norm(x, dim=2, keepdim=True) for x in (own, others))
        wanted = self.each(1 - low_rate) * size + self.each(low_pull) * goal
        unit = own / (size + SMALL)  # bounded where wanted / size is not, so that FP16 holds it
        pulled = self.low * (unit * wanted - own)
        moved: Tensor = own + pulled + self.edge * (self.each(edge_pull) * others - self.each(edge_rate) * own)
        return moved

    def each(self, values: Tensor) -> Tensor:
        """Give every channel its branch's value: ``[branches]`` to ``[channels, 1, 1, 1]``."""
        return per_channel(values, self.widths)[:, None, None, None]


class TspdHead(HrnetHead):
    """What follows one task's downsamplers."""

    bins: Tensor
    mirrored: Tensor

    def __init__(self, config: TspdConfig, channels: int, image: tuple[int, int], *, alone: bool) -> None:
        super().__init__(config, channels, image)
        self.widths, width = config.widths, sum(config.widths)
        self.delta = nn.Parameter(0.02 * torch.randn(config.bins, width))
        self.gain = nn.Parameter(1 + 0.02 * torch.randn(width))
        self.shift = nn.Parameter(0.02 * torch.randn(width))
        self.alpha = nn.Parameter(torch.full((len(config.widths),), ALPHA))
        band = bands(self.grid, config.grid, config.bins)
        register(self, "bins", band.bins)
        register(self, "mirrored", band.mirrored)
        self.consensus = None if alone else Consensus(config.widths, band.low, band.edge)
        self.inverse = Inverse(self.grid)

    def filter(self, spectrum: Tensor) -> Tensor:
        """Apply CW-SP to ``[batch, channels, 2, rows, columns]``."""
        alpha = per_channel(self.alpha, self.widths)
        multiplier = 1 + (self.delta[self.bins] + self.delta[self.mirrored]) / 2
        multiplier = 1 + (alpha * self.gain * multiplier).permute(2, 0, 1)[:, None]
        constant = alpha * self.shift * (self.grid[0] * self.grid[1]) ** 0.5
        rows, columns = self.bins.shape
        at_zero = nn.functional.pad(constant[:, None, None, None], (0, columns - 1, 0, rows - 1, 0, 1))
        return multiplier * spectrum + at_zero

    def forward(self, spectrum: Tensor, others: Tensor | None) -> Tensor:  # type: ignore[override]
        """Map a task's spectrum and the others' mean ``[batch, channels, 2, rows, columns]`` to ``[batch, outputs, *image]``."""
        own = self.filter(spectrum)
        if self.consensus is not None and others is not None:
            own = self.consensus(own, others)
        return self.mixed(self.inverse(own))


class TspdDecoders(Decoders):
    """Downsamplers and a head for each task; tasks that are not answered keep their downsamplers."""

    def __init__(self, config: TspdConfig, sizes: Sizes) -> None:
        super().__init__()
        widths, alone = [stage.channels for stage in sizes.stages], len(sizes.tasks) == 1
        self.downsamplers = nn.ModuleDict({task: downsamplers(config, widths) for task in sizes.tasks})
        self.heads = nn.ModuleDict(
            {task: TspdHead(config, channels, sizes.image, alone=alone) for task, channels in sizes.tasks.items()}
        )
        grid = config.grid_of(sizes.image)
        self.transforms = nn.ModuleList(Transform((stage.height, stage.width), grid) for stage in sizes.stages)

    def forward(self, features: TaskFeatures) -> dict[str, Tensor]:
        """Answer every task that has a head."""
        spectra = {task: self.spectrum(task, features[task]) for task in self.downsamplers}
        total, donors = sum(spectra.values()), len(spectra) - 1
        others = {task: (total - own) / donors for task, own in spectra.items()} if donors else {}
        return {task: head(spectra[task], others.get(task)) for task, head in self.heads.items()}

    def spectrum(self, task: str, features: Sequence[Tensor]) -> Tensor:
        """Map a task's ``[batch, height, width, channels]`` to its joined spectrum ``[batch, channels, 2, rows, columns]``."""
        downs = self.downsamplers[task].children()
        maps = [down(x).permute(0, 3, 1, 2) for down, x in zip(downs, features, strict=True)]
        return torch.cat([transform(x) for transform, x in zip(self.transforms, maps, strict=True)], 1)

    def needed(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Return every trained task: each reads all others."""
        return tuple(self.downsamplers)

    def keep(self, tasks: Sequence[str]) -> None:
        """Drop the heads of other tasks."""
        for task in [task for task in self.heads if task not in tasks]:
            del self.heads[task]


def per_channel(values: Tensor, widths: Sequence[int]) -> Tensor:
    """Repeat each branch's value for its channels: ``[branches]`` to ``[channels]``."""
    return torch.cat([value.expand(width) for value, width in zip(values, widths, strict=True)])
