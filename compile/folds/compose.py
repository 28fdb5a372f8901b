"""Compose up-projections, gates, stage sum, TSAI and downsampler of one stage into one matrix per source.

With u_l the stacked hidden units of skill bank l, G the stage's output, P_t the task's downsampler, ĝ a gate repeated
over the rank, ḡ its mean over tasks, [W_c1 W_c2] the two halves of the TSAI bridge:

    before   D_t = α Σ_l B_l (ĝ_t,l ⊙ u_l)      C = W_c1 G + W_c2 mean_t D_t      z_t = P_t (G + D_t + γ_t ⊙ C)
    after    z_t = M_t,G G + Σ_l M_t,l u_l
             M_t,G = P_t + P_t diag(γ_t) W_c1
             M_t,l = α (P_t B_l diag(ĝ_t,l) + P_t diag(γ_t) W_c2 B_l diag(ḡ_l))

so D_t, C and F_t are never formed. A static gate makes M_t,l a constant. A dynamic gate scales only its columns, so
the two products are constants and M_t,l is built per image from ``own`` and ``shared``. All tasks' rows are stacked:
one GEMM per source whatever the number of tasks. Where the decoder halves the map (H/4 to H/8) bilinearly, a 2×2 mean,
G and u are pooled first: linear maps commute with it.

Refused where γ is dynamic: M would need a P_t diag(γ) W_c per image.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from compile.folds.base import Candidate, set_module
from tdss.adapters.base import TaskFeatures
from tdss.adapters.tdss import DynamicGate, SkillBank, StaticGate, TdssBlock, TdssStage
from tdss.backbones.base import StageTap
from tdss.decoders.hrnet import HrnetDecoder
from tdss.model import MultiTaskModel


class StaticSource(nn.Module):
    """One skill bank with a static gate: hidden units and their constant matrix, ``[tasks·narrow, experts·rank]``."""

    def __init__(self, bank: SkillBank, mix: Tensor) -> None:
        super().__init__()
        self.down, self.activation = bank.down, bank.activation
        self.mix = linear_of(mix)

    def forward(self, n: Tensor, pooled: bool) -> Tensor:
        """Map the block's input ``[batch, height, width, dim]`` to its share of z, ``[batch, …, tasks·narrow]``."""
        hidden = self.activation(self.down(n))
        return self.mix(halve(hidden) if pooled else hidden)  # type: ignore[no-any-return]


class DynamicSource(nn.Module):
    """One skill bank with a dynamic gate: its matrix is built per image from two constants.

    ``own`` is α P_t B and ``shared`` is α P_t diag(γ_t) W_c2 B, each ``[tasks, narrow, experts, rank]``.
    """

    def __init__(self, bank: SkillBank, own: Tensor, shared: Tensor | None) -> None:
        super().__init__()
        self.down, self.activation, self.gate = bank.down, bank.activation, bank.gate
        self.own = nn.Parameter(own)
        self.shared = None if shared is None else nn.Parameter(shared)

    def forward(self, n: Tensor, pooled: bool) -> Tensor:
        """Map the block's input ``[batch, height, width, dim]`` to its share of z, ``[batch, …, tasks·narrow]``."""
        hidden = self.activation(self.down(n))
        hidden = halve(hidden) if pooled else hidden
        batch, height, width, units = hidden.shape
        matrix = self.matrix(self.gate(n)).flatten(3).flatten(1, 2)
        return (hidden.view(batch, height * width, units) @ matrix.transpose(1, 2)).view(batch, height, width, -1)

    def matrix(self, gate: Tensor) -> Tensor:
        """Build M from the gate ``[batch, tasks, experts]``: ``[batch, tasks, narrow, experts, rank]``."""
        matrix = self.own * gate[:, :, None, :, None]
        if self.shared is not None:
            matrix = matrix + self.shared * gate.mean(1)[:, None, None, :, None]
        return matrix


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
            block, site = name.split("_")
            total = total + source(getattr(tap.blocks[int(block)], site), self.pooled)
        return dict(zip(self.tasks, total.chunk(len(self.tasks), -1), strict=True))


class FoldCompose:
    """Every TDSS stage into a ``ComposedStage``, its downsamplers into identities."""

    name = "compose"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every TDSS stage, and every gate in it."""
        for path, stage in model.named_modules():
            if isinstance(stage, TdssStage):
                touches = (path, *_downsamplers(model, path))
                if stage.tsai is not None and stage.tsai.weight is None:
                    yield Candidate(path, "kept", "the TSAI gate γ depends on the image", touches)
                else:
                    yield Candidate(path, "folded", _summary(stage), touches)

    def apply(self, model: MultiTaskModel, module: str) -> None:
        """Replace the stage and the downsamplers that read it."""
        stage = model.get_submodule(module)
        if not isinstance(stage, TdssStage):
            raise TypeError(f"{module} is no TdssStage")
        index = int(module.rpartition(".")[2])
        decoders = [_decoder(model, task) for task in stage.tasks]
        narrow = torch.stack([_weight(decoder.downsamplers[index]) for decoder in decoders])
        height, width = model.backbone.sizes[index]
        pooled = (height, width) == tuple(2 * side for side in decoders[0].head.grid)
        with torch.no_grad():
            set_module(model, module, compose(stage, narrow, pooled=pooled))
        for path in _downsamplers(model, module):
            set_module(model, path, nn.Identity())


def compose(stage: TdssStage, narrow: Tensor, *, pooled: bool) -> ComposedStage:
    """Compose a stage with its downsamplers P, ``narrow`` = ``[tasks, narrow, dim]``."""
    gated = None
    generic = narrow
    if stage.tsai is not None and stage.tsai.weight is not None:
        first, second = stage.tsai.bridge.weight.chunk(2, 1)
        scaled = narrow * stage.tsai.weight.sigmoid()[:, None]
        generic = narrow + scaled @ first
        gated = scaled @ second
    sources: dict[str, nn.Module] = {}
    for number, block in enumerate(stage.blocks):
        if not isinstance(block, TdssBlock):
            raise TypeError(f"block {number} is no TdssBlock")
        for site, bank in block.banks.items():
            if not isinstance(bank, SkillBank):
                raise TypeError(f"bank {site} of block {number} is no SkillBank")
            sources[f"{number}_{site}"] = _source(bank, narrow, gated)
    return ComposedStage(stage.tasks, generic.flatten(0, 1), sources, pooled=pooled)


def _source(bank: SkillBank, narrow: Tensor, gated: Tensor | None) -> nn.Module:
    """``narrow`` is P and ``gated`` is P diag(γ) W_c2, both ``[tasks, narrow, dim]``."""
    split = (-1, bank.rank)
    own = (bank.alpha * (narrow @ bank.up.weight)).unflatten(-1, split)
    shared = None if gated is None else (bank.alpha * (gated @ bank.up.weight)).unflatten(-1, split)
    dynamic = DynamicSource(bank, own, shared)
    if isinstance(bank.gate, StaticGate):
        mix = dynamic.matrix(bank.gate(own))[0]
        return StaticSource(bank, mix.flatten(2).flatten(0, 1))
    return dynamic


def halve(x: Tensor) -> Tensor:
    """Average 2×2 neighbours of ``[batch, height, width, channels]``: the bilinear resize to half the size."""
    batch, height, width, channels = x.shape
    return x.view(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def linear_of(weight: Tensor) -> nn.Linear:
    """Make a bias-free linear of a matrix ``[out, in]``, in its dtype and on its device."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=weight.device, dtype=weight.dtype)
    linear.weight = nn.Parameter(weight.detach())
    return linear


def _summary(stage: TdssStage) -> str:
    gates = [bank.gate for bank in stage.modules() if isinstance(bank, SkillBank)]
    dynamic = sum(isinstance(gate, DynamicGate) for gate in gates)
    return (
        f"{len(gates) - dynamic} static gates merged into constants; "
        f"{dynamic} dynamic gates scale constant matrices per image"
    )


def _downsamplers(model: MultiTaskModel, stage: str) -> tuple[str, ...]:
    index = stage.rpartition(".")[2]
    return tuple(f"decoders.{task}.downsamplers.{index}" for task in model.decoders)


def _decoder(model: MultiTaskModel, task: str) -> HrnetDecoder:
    decoder = model.decoders[task]
    if not isinstance(decoder, HrnetDecoder):
        raise TypeError(f"the decoder of {task} is no HrnetDecoder")
    return decoder


def _weight(module: nn.Module) -> Tensor:
    if not isinstance(module, nn.Linear):
        raise TypeError("a downsampler is no Linear")
    return module.weight
