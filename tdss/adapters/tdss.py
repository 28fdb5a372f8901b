"""TDSS: task-dynamic skill adapters (TDSA) and task-synergistic interaction (TSAI).

Only the abstract of the paper (AAAI 2026) is public, without code or numbers: everything below is our own
reconstruction, not the paper's design, and each choice is a switch of ``TdssConfig``.

    n      = LN2(x_l) or LN1(x_l)                 the frozen block's MLP or attention input (``insertion``)
    u_e    = σ(A_e n)                             hidden units of skill e, rank r; skills are shared by all tasks
    g_t    = softmax(z_t / τ)                     gate, static: learned per task
           | softmax((z_t + V_t·GAP(n)) / τ)      gate, dynamic: per image
    Δ_t,l  = α Σ_e g_t,e B_e u_e                  beside the block; the generic stream is not modified; B starts at 0
    D_t    = Σ_{l in stage} Δ_t,l                 the task-adapted feature;  G = the frozen stage's output
    C      = W_c [G ; mean_t D_t]                 TSAI: bridges generic and adapted features
    F_t    = G + D_t + γ_t ⊙ C                    γ_t = sigmoid(w_t) static | sigmoid(W_t·GAP[G ; D_t]) dynamic

With ``stem`` each decoder gets one more map, of the image itself (tdss/adapters/stem.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tdss.adapters.base import Adapter, TaskFeatures
from tdss.adapters.config import Gate, TdssConfig
from tdss.adapters.stem import Stem
from tdss.backbones.base import Backbone, BlockTap, StageTap
from tdss.linears import bias_of, linear_of

ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "gelu": nn.GELU}


def normalise_gate(logits: Tensor, *, temperature: float, top_k: int) -> Tensor:
    """Softmax over the last axis; with ``top_k`` > 0 over the k largest logits of each row only, the rest are 0."""
    logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        smallest = logits.topk(top_k, -1).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, float("-inf"))
    return logits.softmax(-1)


class StaticGate(nn.Module):
    """One learned mix of the skills per task."""

    def __init__(self, config: TdssConfig, tasks: int) -> None:
        super().__init__()
        self.config = config
        self.logits = nn.Parameter(torch.randn(tasks, config.experts) * 0.5)

    def keep(self, indices: Sequence[int]) -> None:
        """Keep the rows of these tasks."""
        self.logits = nn.Parameter(self.logits.detach()[list(indices)])

    def forward(self, n: Tensor) -> Tensor:
        """Return the gate, the same for every image: ``[1, tasks, experts]``."""
        gate = normalise_gate(self.logits, temperature=self.config.temperature, top_k=self.config.top_k)
        return gate[None]


class DynamicGate(nn.Module):
    """A mix of the skills per task and image, from the globally pooled block input."""

    def __init__(self, config: TdssConfig, tasks: int, dim: int) -> None:
        super().__init__()
        self.config = config
        self.tasks = tasks
        self.logits = nn.Linear(dim, tasks * config.experts)
        nn.init.normal_(self.logits.bias, std=0.5)
        nn.init.normal_(self.logits.weight, std=0.02)

    def keep(self, indices: Sequence[int]) -> None:
        """Keep the rows of these tasks."""
        self.tasks = len(indices)
        self.logits = _rows(self.logits, indices, self.config.experts)

    def forward(self, n: Tensor) -> Tensor:
        """Map the block's input ``[batch, height, width, dim]`` to the gate ``[batch, tasks, experts]``."""
        logits = self.logits(n.mean((1, 2))).view(-1, self.tasks, self.config.experts)
        return normalise_gate(logits, temperature=self.config.temperature, top_k=self.config.top_k)


class SkillBank(nn.Module):
    """The E skills of rank r at one site of one block, stacked, and the gate that mixes them per task."""

    def __init__(self, config: TdssConfig, dim: int, tasks: int, gate: Gate) -> None:
        super().__init__()
        self.rank = config.rank
        self.alpha = config.alpha
        self.down = nn.Linear(dim, config.experts * config.rank, bias=False)
        self.activation = ACTIVATIONS[config.activation]()
        self.up = nn.Linear(config.experts * config.rank, dim, bias=False)
        nn.init.normal_(self.down.weight, std=dim**-0.5)
        nn.init.zeros_(self.up.weight)
        self.gate = DynamicGate(config, tasks, dim) if gate == "dynamic" else StaticGate(config, tasks)

    def hidden(self, n: Tensor) -> Tensor:
        """Return u, every skill's hidden units: ``[batch, height, width, experts·rank]``."""
        return self.activation(self.down(n))  # type: ignore[no-any-return]

    def forward(self, n: Tensor) -> list[Tensor]:
        """Map the block's input ``[batch, height, width, dim]`` to Δ of each task, same shape."""
        hidden = self.hidden(n)
        gate = self.gate(n).repeat_interleave(self.rank, -1)[:, :, None, None]
        return [self.alpha * self.up(gate[:, task] * hidden) for task in range(gate.shape[1])]


class DynamicGamma(nn.Module):
    """γ_t = sigmoid(W_t·GAP[G ; D_t]) of each answered task, per image; ``weight`` holds the W_t ``[dim, 2·dim]``, stacked."""

    def __init__(self, dim: int, tasks: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(tasks * dim, 2 * dim))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def keep(self, indices: Sequence[int]) -> None:
        """Keep the rows of these tasks."""
        rows = self.weight.detach().unflatten(0, (-1, self.weight.shape[1] // 2))[list(indices)]
        self.weight = nn.Parameter(rows.flatten(0, 1))

    def forward(self, generic: Tensor, adapted: Sequence[Tensor]) -> Tensor:
        """Map G and the answered tasks' D_t, ``[batch, height, width, dim]``, to γ ``[batch, tasks, dim]``."""
        pooled = generic.mean((1, 2))
        rows = self.weight.chunk(len(adapted))
        read = [torch.cat([pooled, own.mean((1, 2))], -1) for own in adapted]
        return torch.stack([functional.linear(one, row) for one, row in zip(read, rows, strict=True)], 1).sigmoid()


class Tsai(nn.Module):
    """Task-synergistic interaction of one stage: F_t = G + D_t + γ_t ⊙ W_c [G ; mean_t D_t]."""

    def __init__(self, dim: int, tasks: int, *, dynamic: bool) -> None:
        super().__init__()
        self.bridge = nn.Linear(2 * dim, dim, bias=False)
        nn.init.normal_(self.bridge.weight, std=0.02 * dim**-0.5)
        self.gate = DynamicGamma(dim, tasks) if dynamic else None
        self.weight = None if dynamic else nn.Parameter(torch.zeros(tasks, dim))

    def keep(self, indices: Sequence[int]) -> None:
        """Keep γ of these tasks."""
        if self.gate is not None:
            self.gate.keep(indices)
        if self.weight is not None:
            self.weight = nn.Parameter(self.weight.detach()[list(indices)])

    def gamma(self, generic: Tensor, adapted: list[Tensor]) -> list[Tensor]:
        """Return γ_t of each task, broadcastable over ``[batch, height, width, dim]``."""
        if self.weight is not None:
            return [row.sigmoid() for row in self.weight]
        assert self.gate is not None
        gamma = self.gate(generic, adapted)
        return [gamma[:, task, None, None] for task in range(len(adapted))]

    def forward(self, generic: Tensor, adapted: list[Tensor], answers: Sequence[int]) -> list[Tensor]:
        """Map G and the D_t of every trained task to F_t of those in ``answers``; all ``[batch, height, width, dim]``."""
        mean = torch.stack(adapted).mean(0)
        bridge = self.bridge(torch.cat([generic, mean], -1))
        answered = [adapted[index] for index in answers]
        gammas = self.gamma(generic, answered)
        return [generic + own + gamma * bridge for own, gamma in zip(answered, gammas, strict=True)]


class TdssBlock(nn.Module):
    """The skill banks of one block: at the attention's input, the MLP's, or both."""

    def __init__(self, config: TdssConfig, dim: int, tasks: int, gate: Gate) -> None:
        super().__init__()
        self.banks = nn.ModuleDict({site: SkillBank(config, dim, tasks, gate) for site in config.reads()})

    def forward(self, tap: BlockTap) -> list[Tensor]:
        """Return the sum of the banks' Δ for each task, ``[batch, height, width, dim]``."""
        per_bank = [bank(getattr(tap, site)) for site, bank in self.banks.items()]
        return [sum(deltas[1:], deltas[0]) for deltas in zip(*per_bank, strict=True)]


class TdssStage(nn.Module):
    """The adapters of one stage and the interaction at its end.

    ``tasks`` are those that are answered, ``answers`` their indices among those the gates were trained for: the mean over
    tasks in TSAI runs over all of these, also where only some are answered.
    """

    def __init__(self, config: TdssConfig, dim: int, tasks: Sequence[str], gates: Sequence[Gate]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.answers = tuple(range(len(self.tasks)))
        self.blocks = nn.ModuleList(TdssBlock(config, dim, len(self.tasks), gate) for gate in gates)
        self.tsai = None if config.tsai == "off" else Tsai(dim, len(self.tasks), dynamic=config.tsai == "dynamic")

    def forward(self, tap: StageTap) -> dict[str, Tensor]:
        """Return F_t of each task, ``[batch, height, width, dim]``."""
        per_block = [block(block_tap) for block, block_tap in zip(self.blocks, tap.blocks, strict=True)]
        adapted = [sum(deltas[1:], deltas[0]) for deltas in zip(*per_block, strict=True)]
        if self.tsai is None:
            return {task: tap.output + adapted[index] for task, index in zip(self.tasks, self.answers, strict=True)}
        return dict(zip(self.tasks, self.tsai(tap.output, adapted, self.answers), strict=True))

    def keep(self, tasks: Sequence[str]) -> None:
        """Answer ``tasks`` only and drop what no answered task needs: γ's rows, and without TSAI the gates' too."""
        indices = [self.tasks.index(task) for task in tasks]
        self.answers, self.tasks = tuple(self.answers[index] for index in indices), tuple(tasks)
        if self.tsai is not None:
            self.tsai.keep(indices)
            return
        for bank in self.modules():
            if isinstance(bank, SkillBank):
                bank.gate.keep(self.answers)
        self.answers = tuple(range(len(tasks)))


class Tdss(Adapter):
    """TDSS over every stage of a backbone, which it leaves as it is."""

    def __init__(self, config: TdssConfig, backbone: Backbone, tasks: Sequence[str]) -> None:
        super().__init__(config, backbone, tasks)
        widths = (backbone.config.width(stage) for stage in range(len(config.gates)))
        self.stages = nn.ModuleList(
            TdssStage(config, dim, self.tasks, gates) for dim, gates in zip(widths, config.gates, strict=True)
        )
        self.stem = Stem(config.stem) if config.stem else None

    def keep(self, tasks: Sequence[str]) -> None:
        """Answer ``tasks`` only."""
        super().keep(tasks)
        for stage in self.stages:
            assert isinstance(stage, TdssStage)
            stage.keep(tasks)

    def adapt(self, taps: Sequence[StageTap], image: Tensor) -> TaskFeatures:
        """See ``Adapter.adapt``: the stem's map comes before those of the stages, the same for every task."""
        adapted = super().adapt(taps, image)
        if self.stem is None:
            return adapted
        detail = self.stem(image)
        return {task: [detail, *maps] for task, maps in adapted.items()}

    def forward(self, taps: Sequence[StageTap]) -> TaskFeatures:
        """Adapt every stage for every task."""
        adapted = [stage(tap) for stage, tap in zip(self.stages, taps, strict=True)]
        return {task: [stage[task] for stage in adapted] for task in self.tasks}


def _rows(linear: nn.Linear, indices: Sequence[int], group: int) -> nn.Linear:
    """Return a linear with the groups of ``group`` output rows at ``indices``."""
    weight, bias = linear.weight.unflatten(0, (-1, group))[list(indices)].flatten(0, 1), bias_of(linear)
    return linear_of(weight, None if bias is None else bias.unflatten(0, (-1, group))[list(indices)].flatten(0, 1))
