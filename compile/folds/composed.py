"""The modules that a composed stage is made of: hidden units and their matrix, one pair per skill bank.

    u = σ(A n)                       z += M u                                static gate, M a constant
                                     M_t = own_t·diag(ĝ_t) + shared_t·diag(ḡ)    dynamic gate, own = α P_t B, shared = α P_t diag(γ_t) W_c2 B
    "matrix"                         z_t += M_t u                            M built once per image
    "units"                          z_t += own_t (ĝ_t ⊙ u) + shared_t (ḡ ⊙ u)    the matrices stay constants

Where the decoder halves the map, u is averaged 2×2 first, and n before A where σ is linear: means commute with matrices.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from compile.folds.cost import BYTES_PER_VALUE, Cost
from tdss.adapters.base import TaskFeatures
from tdss.adapters.tdss import SkillBank
from tdss.backbones.base import StageTap
from tdss.linears import linear_of

MATRIX, UNITS = "matrix", "units"  # how a dynamic gate acts: on the small matrix, or on the hidden units


class Hidden(nn.Module):
    """A bank's hidden units u = σ(A n), averaged 2×2 where the decoder halves the map; before A where σ is linear."""

    def __init__(self, bank: SkillBank, *, pooled: bool) -> None:
        super().__init__()
        self.down, self.activation, self.pooled = bank.down, bank.activation, pooled

    def forward(self, n: Tensor) -> Tensor:
        """Map the block's input ``[batch, height, width, dim]`` to ``[batch, height, width, experts·rank]``."""
        if isinstance(self.activation, nn.Identity):
            return self.down(halve(n) if self.pooled else n)  # type: ignore[no-any-return]
        units = self.activation(self.down(n))
        return halve(units) if self.pooled else units


class StaticSource(nn.Module):
    """One skill bank with a static gate: hidden units and their constant matrix, ``[tasks·narrow, experts·rank]``."""

    def __init__(self, hidden: Hidden, mix: Tensor) -> None:
        super().__init__()
        self.hidden = hidden
        self.mix = linear_of(mix)

    def forward(self, n: Tensor) -> Tensor:
        """Map the block's input ``[batch, height, width, dim]`` to its share of z, ``[batch, …, tasks·narrow]``."""
        return self.mix(self.hidden(n))  # type: ignore[no-any-return]


class DynamicSource(nn.Module):
    """One skill bank with a dynamic gate and two constant matrices.

    ``own`` is α P_t B and ``shared`` is α P_t diag(γ_t) W_c2 B, each ``[tasks, narrow, experts, rank]``. In the form
    "matrix" the gate scales their columns and one GEMM follows; in "units" it scales the hidden units, per task, and the
    matrices stay constants. ``answers`` are the places of the answered tasks in the gate.
    """

    def __init__(
        self, hidden: Hidden, gate: nn.Module, own: Tensor, shared: Tensor | None, answers: Sequence[int], form: str
    ) -> None:
        super().__init__()
        self.hidden, self.gate = hidden, gate
        self.answers, self.form = tuple(answers), form
        self.own = nn.Parameter(own)
        self.shared = None if shared is None else nn.Parameter(shared)

    def forward(self, n: Tensor) -> Tensor:
        """Map the block's input ``[batch, height, width, dim]`` to its share of z, ``[batch, …, tasks·narrow]``."""
        units: Tensor = self.hidden(n)
        gate: Tensor = self.gate(n)
        batch, height, width, count = units.shape
        flat = units.view(batch, height * width, count)
        if self.form == UNITS:
            return self._scale_units(flat, gate).view(batch, height, width, -1)
        matrix = mixed(self.own, self.shared, gate, self.answers).flatten(3).flatten(1, 2)
        return (flat @ matrix.transpose(1, 2)).view(batch, height, width, -1)

    def _scale_units(self, flat: Tensor, gate: Tensor) -> Tensor:
        """Return ``[batch, pixels, tasks·narrow]`` from units ``[batch, pixels, experts·rank]``."""
        rank = self.own.shape[3]
        scale = answered(gate, self.answers).repeat_interleave(rank, -1)
        total: Tensor = (flat[:, None] * scale[:, :, None]) @ self.own.flatten(2).transpose(1, 2)
        total = total.transpose(1, 2).flatten(2)
        if self.shared is not None:
            mean = gate.mean(1).repeat_interleave(rank, -1)[:, None]
            total = total + (flat * mean) @ self.shared.flatten(2).flatten(0, 1).T
        return total


class ComposedStage(nn.Module):
    """A stage's adapters, interaction and downsamplers as one GEMM per source, summed."""

    def __init__(self, tasks: Sequence[str], generic: Tensor, sources: dict[str, nn.Module], *, pooled: bool) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.pooled = pooled
        self.generic = linear_of(generic)
        self.sources = nn.ModuleDict(sources)

    def forward(self, tap: StageTap) -> TaskFeatures:
        """Return z_t of each task, ``[batch, height, width, narrow]``, halved where the decoder would halve it."""
        total = self.generic(halve(tap.output) if self.pooled else tap.output)
        for name, source in self.sources.items():
            total = total + source(input_of(tap, name))
        return dict(zip(self.tasks, total.chunk(len(self.tasks), -1), strict=True))


def input_of(tap: StageTap, source: str) -> Tensor:
    """Return what the source ``<block>_<site>`` reads, ``[batch, height, width, dim]``."""
    block, site = source.split("_")
    read: Tensor = getattr(tap.blocks[int(block)], site)
    return read


def mixed(own: Tensor, shared: Tensor | None, gate: Tensor, answers: Sequence[int]) -> Tensor:
    """Build M from the gate ``[batch, trained tasks, experts]``: ``[batch, tasks, narrow, experts, rank]``."""
    matrix = own * answered(gate, answers)[:, :, None, :, None]
    return matrix if shared is None else matrix + shared * gate.mean(1)[:, None, None, :, None]


def answered(gate: Tensor, answers: Sequence[int]) -> Tensor:
    """Return the rows of the answered tasks of a gate ``[batch, trained tasks, experts]``."""
    return gate if tuple(answers) == tuple(range(gate.shape[1])) else gate[:, list(answers)]


def gate_form(*, rows: int, units: int, tasks: int, pixels: int, shared: bool) -> str:
    """Choose how a dynamic gate acts, by cost: "matrix" scales ``rows`` × ``units`` values, "units" scales every pixel's.

    With a shared part the second form needs a second GEMM; both move what they scale.
    """
    matrix = Cost(macs=0, moved=BYTES_PER_VALUE * rows * units * (6 if shared else 2), params=0)
    scaled = BYTES_PER_VALUE * pixels * units * 2 * (tasks + shared)
    by_unit = Cost(macs=shared * pixels * rows * units, moved=scaled, params=0)
    return MATRIX if matrix.weight <= by_unit.weight else UNITS


def halve(x: Tensor) -> Tensor:
    """Average 2×2 neighbours of ``[batch, height, width, channels]``: the bilinear resize to half the size."""
    batch, height, width, channels = x.shape
    return x.view(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))
