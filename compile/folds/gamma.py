"""A composed stage whose TSAI gate γ depends on the image.

γ_t = sigmoid(W_t [GAP(G); GAP(D_t)]) needs no map: pooling commutes with linear maps, so
GAP(D_t) = α Σ_l B_l (ĝ_t,l ⊙ GAP(u_l)). With γ known, the stage is linear again, in one of two forms (``form``):

    "built"    z_t = M_t,G G + Σ_l M_t,l u_l    the matrices of compose.py, made once per image
    "bridge"   C = W_c1 G + Σ_l α W_c2 B_l (ḡ_l ⊙ u_l)
               z_t = P_t G + Σ_l α P_t B_l (ĝ_t,l ⊙ u_l) + (P_t diag(γ_t)) C     C is one map for all tasks

The first costs tasks·narrow·dim·(dim + Σ E·r) per image, the second dim·(dim + Σ E·r + tasks·narrow) per pixel: it pays where
there are few pixels. D_t, F_t and a γ_t ⊙ C per task are formed in neither.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from compile.folds.composed import Hidden, answered, halve, input_of
from tdss.adapters.base import TaskFeatures
from tdss.backbones.base import StageTap
from tdss.linears import linear_of

Read: TypeAlias = tuple[Tensor, Tensor, Tensor]  # u, ĝ and ḡ of one source
BUILT, BRIDGE = "built", "bridge"


class GammaSource(nn.Module):
    """One skill bank of such a stage: hidden units, gate, and three constant products of αB, each with E·r columns.

    ``up`` is αB ``[dim, units]``, ``own`` is P_t αB ``[tasks, narrow, units]``, ``across`` is W_c2 αB ``[dim, units]``.
    """

    def __init__(self, hidden: Hidden, gate: nn.Module, up: Tensor, own: Tensor, across: Tensor, rank: int) -> None:
        super().__init__()
        self.hidden, self.gate, self.rank = hidden, gate, rank
        self.up, self.own, self.across = nn.Parameter(up), nn.Parameter(own), nn.Parameter(across)

    def read(self, n: Tensor, answers: Sequence[int]) -> Read:
        """Return u ``[batch, pixels, units]``, ĝ ``[batch, tasks, units]`` and ḡ ``[batch, units]``."""
        gate = self.gate(n)
        own, mean = (part.repeat_interleave(self.rank, -1) for part in (answered(gate, answers), gate.mean(1)))
        return self.hidden(n).flatten(1, 2), own, mean


class PooledGamma(nn.Module):
    """γ from what is pooled already; ``weight`` is W ``[tasks, dim, 2·dim]``."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, generic: Tensor, adapted: Tensor) -> Tensor:
        """Map GAP(G) ``[batch, dim]`` and GAP(D_t) ``[batch, tasks, dim]`` to γ ``[batch, tasks, dim]``."""
        first, second = self.weight.chunk(2, -1)
        logits = torch.einsum("tij,bj->bti", first, generic) + torch.einsum("tij,btj->bti", second, adapted)
        return logits.sigmoid()


class GammaStage(nn.Module):
    """A stage's adapters, interaction with a dynamic γ, and downsamplers."""

    def __init__(
        self, tasks: Sequence[str], narrow: Tensor, bridge: Tensor, gate: Tensor, sources: dict[str, nn.Module], *,
        answers: Sequence[int], pooled: bool, form: str,
    ) -> None:  # fmt: skip
        """``narrow`` is P ``[tasks, narrow, dim]``, ``bridge`` W_c1 ``[dim, dim]``, ``gate`` W ``[tasks, dim, 2·dim]``."""
        super().__init__()
        self.tasks, self.answers, self.pooled, self.form = tuple(tasks), tuple(answers), pooled, form
        self.narrow, self.gate = nn.Parameter(narrow), PooledGamma(gate)
        self.bridge = linear_of(bridge)
        self.sources = nn.ModuleDict(sources)

    def forward(self, tap: StageTap) -> TaskFeatures:
        """Return z_t of each task, ``[batch, height, width, narrow]``, halved where the decoder would halve it."""
        output = halve(tap.output) if self.pooled else tap.output
        batch, height, width, _ = output.shape
        generic = output.flatten(1, 2)
        sources = [source for source in self.sources.values() if isinstance(source, GammaSource)]
        names = tuple(self.sources)
        read = [source.read(input_of(tap, name), self.answers) for name, source in zip(names, sources, strict=True)]
        gated = self.narrow * self._gamma(generic, sources, read)[:, :, None]
        compute = self._bridge if self.form == BRIDGE else self._build
        total = compute(generic, sources, read, gated).view(batch, height, width, -1)
        return dict(zip(self.tasks, total.chunk(len(self.tasks), -1), strict=True))

    def _gamma(self, generic: Tensor, sources: list[GammaSource], read: Sequence[Read]) -> Tensor:
        """Return γ, ``[batch, tasks, dim]``."""
        pooled = generic.mean(1)
        adapted = pooled.new_zeros(len(pooled), len(self.tasks), pooled.shape[1])
        for source, (units, own, _) in zip(sources, read, strict=True):
            adapted = adapted + (own * units.mean(1)[:, None]) @ source.up.T
        gamma: Tensor = self.gate(pooled, adapted)
        return gamma

    def _build(self, generic: Tensor, sources: list[GammaSource], read: Sequence[Read], gated: Tensor) -> Tensor:
        matrix = self.narrow + gated @ self.bridge.weight
        total = generic @ matrix.flatten(1, 2).transpose(1, 2)
        for source, (units, own, mean) in zip(sources, read, strict=True):
            matrix = source.own * own[:, :, None] + (gated @ source.across) * mean[:, None, None]
            total = total + units @ matrix.flatten(1, 2).transpose(1, 2)
        return total

    def _bridge(self, generic: Tensor, sources: list[GammaSource], read: Sequence[Read], gated: Tensor) -> Tensor:
        bridged: Tensor = self.bridge(generic)
        total: Tensor = generic @ self.narrow.flatten(0, 1).T
        for source, (units, own, mean) in zip(sources, read, strict=True):
            bridged = bridged + units @ (source.across * mean[:, None]).transpose(1, 2)
            total = total + units @ (source.own * own[:, :, None]).flatten(1, 2).transpose(1, 2)
        return total + bridged @ gated.flatten(1, 2).transpose(1, 2)


def gamma_form(*, rows: int, dim: int, units: int, pixels: int) -> str:
    """Choose the form with fewer MACs; ``rows`` is tasks·narrow, ``units`` the stage's E·r summed over its banks."""
    return BUILT if rows * dim * (dim + units) <= pixels * dim * (dim + units + rows) else BRIDGE
