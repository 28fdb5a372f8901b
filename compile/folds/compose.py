"""Compose up-projections, gates, stage sum, TSAI and downsampler of one stage into one matrix per source.

With u_l the stacked hidden units of skill bank l, G the stage's output, P_t the task's downsampler, ĝ a gate repeated
over the rank, ḡ its mean over all trained tasks, [W_c1 W_c2] the two halves of the TSAI bridge:

    before   D_t = α Σ_l B_l (ĝ_t,l ⊙ u_l)      C = W_c1 G + W_c2 mean_t D_t      z_t = P_t (G + D_t + γ_t ⊙ C)
    after    z_t = M_t,G G + Σ_l M_t,l u_l
             M_t,G = P_t + P_t diag(γ_t) W_c1
             M_t,l = α (P_t B_l diag(ĝ_t,l) + P_t diag(γ_t) W_c2 B_l diag(ḡ_l))

so D_t, C and F_t are never formed. A static gate makes M_t,l a constant. A dynamic gate scales only its columns, so
the two products are constants, and either M_t,l is built per image or the hidden units are scaled: whichever moves less
(``gate_form``). A γ that depends on the image has its own stage, see gamma.py. All tasks' rows are stacked: one GEMM per
source whatever the number of tasks. Where the decoder halves the map (H/4 to H/8) bilinearly, a 2×2 mean, G and u are
pooled first: linear maps commute with it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from compile.folds.base import Candidate, Step, downsamplers_of
from compile.folds.composed import ComposedStage, DynamicSource, Hidden, StaticSource, gate_form, mixed
from compile.folds.gamma import GammaSource, GammaStage, gamma_form
from compile.folds.gates import DeadBank, constant_of, is_static
from tdss.adapters.tdss import SkillBank, TdssBlock, TdssStage
from tdss.decoders.hrnet import HrnetDecoder
from tdss.linears import set_module
from tdss.model import MultiTaskModel


class _Place(NamedTuple):
    """A stage's banks by source name, its downsamplers P ``[tasks, narrow, dim]``, and how many pixels z has."""

    banks: dict[str, SkillBank]
    narrow: Tensor
    pixels: int
    pooled: bool


class FoldCompose:
    """Every TDSS stage into a ``ComposedStage`` or ``GammaStage``, its downsamplers into identities."""

    name = "compose"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every TDSS stage with the forms chosen for its dynamic gates."""
        for path, stage in model.named_modules():
            if isinstance(stage, TdssStage):
                form = choose_form(stage, _place(model, path, stage))
                touches = (path, *downsamplers_of(model, path))
                yield Candidate(path, "folded", _summary(stage, form), touches, form=form)

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Replace the stage and the downsamplers that read it."""
        stage = model.get_submodule(step.module)
        if not isinstance(stage, TdssStage):
            raise TypeError(f"{step.module} is no TdssStage")
        place = _place(model, step.module, stage)
        build = compose if stage.tsai is None or stage.tsai.weight is not None else compose_gamma
        with torch.no_grad():
            set_module(model, step.module, build(stage, place, step.form))
        for path in downsamplers_of(model, step.module):
            set_module(model, path, nn.Identity())


def compose(stage: TdssStage, place: _Place, form: str) -> ComposedStage:
    """Compose a stage whose γ is static or absent with its downsamplers."""
    narrow, gated = place.narrow, None
    generic = narrow
    if stage.tsai is not None and stage.tsai.weight is not None:
        first, second = stage.tsai.bridge.weight.chunk(2, 1)
        scaled = narrow * stage.tsai.weight.sigmoid()[:, None]
        generic = narrow + scaled @ first
        gated = scaled @ second
    sources: dict[str, nn.Module] = {}
    for name, bank in place.banks.items():
        split = (-1, bank.rank)
        own = (bank.alpha * (narrow @ bank.up.weight)).unflatten(-1, split)
        shared = None if gated is None else (bank.alpha * (gated @ bank.up.weight)).unflatten(-1, split)
        hidden = Hidden(bank, pooled=place.pooled)
        if is_static(bank.gate):
            mix = mixed(own, shared, constant_of(bank.gate)[None], stage.answers)[0]
            sources[name] = StaticSource(hidden, mix.flatten(2).flatten(0, 1))
        else:
            sources[name] = DynamicSource(hidden, bank.gate, own, shared, stage.answers, form)
    return ComposedStage(stage.tasks, generic.flatten(0, 1), sources, pooled=place.pooled)


def compose_gamma(stage: TdssStage, place: _Place, form: str) -> GammaStage:
    """Compose a stage whose γ depends on the image with its downsamplers."""
    if stage.tsai is None or stage.tsai.gate is None:
        raise TypeError("the stage has no dynamic γ")
    first, second = stage.tsai.bridge.weight.chunk(2, 1)
    sources: dict[str, nn.Module] = {}
    for name, bank in place.banks.items():
        up = bank.alpha * bank.up.weight
        hidden = Hidden(bank, pooled=place.pooled)
        sources[name] = GammaSource(hidden, bank.gate, up, place.narrow @ up, second @ up, bank.rank)
    gate = stage.tsai.gate.weight.unflatten(0, (len(stage.tasks), -1))
    return GammaStage(
        stage.tasks, place.narrow, first.clone(), gate, sources, answers=stage.answers, pooled=place.pooled, form=form
    )


def choose_form(stage: TdssStage, place: _Place) -> str:
    """Return how what depends on the image is computed, by cost; "" where nothing does."""
    rows, dim = place.narrow.shape[0] * place.narrow.shape[1], place.narrow.shape[2]
    units = [bank.up.in_features for bank in place.banks.values()]
    if stage.tsai is not None and stage.tsai.weight is None:
        return gamma_form(rows=rows, dim=dim, units=sum(units), pixels=place.pixels)
    if all(is_static(bank.gate) for bank in place.banks.values()):
        return ""
    shared = stage.tsai is not None
    return gate_form(rows=rows, units=max(units), tasks=len(stage.tasks), pixels=place.pixels, shared=shared)


def _place(model: MultiTaskModel, path: str, stage: TdssStage) -> _Place:
    index = int(path.rpartition(".")[2])
    decoders = [_decoder(model, task) for task in stage.tasks]
    height, width = model.backbone.sizes[index]
    pooled = (height, width) == tuple(2 * side for side in decoders[0].head.grid)
    narrow = torch.stack([_weight(decoder.downsamplers[index]) for decoder in decoders]).detach()
    return _Place(dict(_banks(stage)), narrow, height * width // (4 if pooled else 1), pooled)


def _banks(stage: TdssStage) -> Iterator[tuple[str, SkillBank]]:
    for number, block in enumerate(stage.blocks):
        if not isinstance(block, TdssBlock):
            raise TypeError(f"block {number} is no TdssBlock")
        for site, bank in block.banks.items():
            if isinstance(bank, SkillBank):
                yield f"{number}_{site}", bank
            elif not isinstance(bank, DeadBank):
                raise TypeError(f"bank {site} of block {number} is no SkillBank")


FORMS = {
    "": "nothing depends on the image", "matrix": "a dynamic gate scales the small matrix, once per image",
    "units": "a dynamic gate scales the hidden units, the matrices are constants",
    "built": "γ depends on the image: the small matrices are built once per image",
    "bridge": "γ depends on the image: the bridge's map is formed once for all tasks",
}  # fmt: skip


def _summary(stage: TdssStage, form: str) -> str:
    gates = [bank.gate for bank in stage.modules() if isinstance(bank, SkillBank)]
    dynamic = sum(not is_static(gate) for gate in gates)
    return f"{len(gates) - dynamic} static and {dynamic} dynamic gates; {FORMS[form]}"


def _decoder(model: MultiTaskModel, task: str) -> HrnetDecoder:
    decoder = model.decoders[task]
    if not isinstance(decoder, HrnetDecoder):
        raise TypeError(f"the decoder of {task} is no HrnetDecoder")
    return decoder


def _weight(module: nn.Module) -> Tensor:
    if not isinstance(module, nn.Linear):
        raise TypeError("a downsampler is no Linear")
    return module.weight
