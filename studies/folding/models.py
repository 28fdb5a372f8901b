"""The models that ``make bench-fold`` compares: a TDSS on a Swin-T at 448, its eager form without loops, its baseline.

``BatchedStage`` is what an export of the eager model computes when experts and tasks are axes of one tensor:

    s_e = B_e u_e of every skill at once, Δ_t = α Σ_e g_t,e s_e as one product with the gates, F_t of all tasks at once

Nothing is composed in it. The baseline is the same model without an adapter.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from tdss.adapters.config import Gate, NoAdapterConfig, TdssConfig
from tdss.adapters.tdss import SkillBank, TdssBlock, TdssStage
from tdss.backbones.base import BlockTap, StageTap
from tdss.backbones.config import ImageConfig, SwinConfig
from tdss.config import ModelConfig
from tdss.decoders.config import HrnetConfig
from tdss.decoders.hrnet import HrnetDecoder, HrnetDecoders
from tdss.model import MultiTaskModel

Form: TypeAlias = Literal["skills", "hidden"]
TASKS = {"semseg": 21, "human_parts": 7, "saliency": 1, "normals": 3, "depth": 1, "edge": 1}
SWIN_T = SwinConfig(embed_dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24))
FIELD_HEAD = HrnetConfig(widths=(18, 36, 72, 144), hidden=1080, stride=8, mix_bias=True)


def swin_t(gate: Gate | None, *, tasks: int = 6) -> ModelConfig:
    """Return a Swin-T at 448 with E = 8, r = 16 and every gate of one kind, or without an adapter."""
    adapter = NoAdapterConfig() if gate is None else TdssConfig(experts=8, rank=16, gates=_gates(SWIN_T, gate))
    return ModelConfig(
        name="swin-t",
        image=ImageConfig(height=448, width=448),
        backbone=SWIN_T,
        adapter=adapter,
        decoder=FIELD_HEAD,
        tasks=dict(list(TASKS.items())[:tasks]),
    )


def tiny(gate: Gate | None, *, tasks: int = 6) -> ModelConfig:
    """Return the same at a size that proves only that the benchmark runs."""
    backbone = SwinConfig(embed_dim=16, depths=(2, 2), heads=(1, 2), window=4)
    adapter = NoAdapterConfig() if gate is None else TdssConfig(experts=2, rank=4, gates=_gates(backbone, gate))
    return ModelConfig(
        name="tiny",
        image=ImageConfig(height=64, width=64),
        backbone=backbone,
        adapter=adapter,
        decoder=HrnetConfig(widths=(8, 8), hidden=16, mix_bias=True),
        tasks=dict(list(TASKS.items())[:tasks]),
    )


def _gates(backbone: SwinConfig, gate: Gate) -> tuple[tuple[Gate, ...], ...]:
    return tuple((gate,) * depth for depth in backbone.depths)


def random_model(config: ModelConfig, seed: int) -> MultiTaskModel:
    """Make a model with seeded random weights, none of them zero, and batch-norm statistics that are not trivial."""
    torch.manual_seed(seed)
    model = MultiTaskModel(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            else:
                tensor.add_(torch.randn_like(tensor) * 0.02)
    return model


class BatchedBank(nn.Module):
    """A skill bank with the tasks as an axis. ``form`` skills: every s_e, then their mix; hidden: mixed u, then B."""

    def __init__(self, bank: SkillBank, form: Form) -> None:
        super().__init__()
        self.bank, self.form = bank, form

    def forward(self, n: Tensor) -> Tensor:
        """Map ``[1, height, width, dim]`` to Δ of every task, ``[tasks, height·width, dim]``."""
        bank, hidden = self.bank, self.bank.hidden(n)
        gate: Tensor = self.bank.gate(n)[0]
        tasks, experts = gate.shape
        flat = hidden.reshape(-1, experts * bank.rank)
        if self.form == "hidden":
            scaled = flat * gate.repeat_interleave(bank.rank, -1)[:, None]
            mixed: Tensor = bank.alpha * bank.up(scaled)
            return mixed
        up = bank.up.weight.view(-1, experts, bank.rank).permute(1, 2, 0)
        skills = flat.view(-1, experts, bank.rank).transpose(0, 1) @ up
        return bank.alpha * (gate @ skills.flatten(1)).view(tasks, *skills.shape[1:])


class BatchedStage(nn.Module):
    """A stage's adapters, interaction and downsamplers with the tasks as an axis; the eager model's arithmetic."""

    def __init__(self, stage: TdssStage, narrow: Tensor, form: Form) -> None:
        super().__init__()
        self.stage, self.tasks, self.narrow = stage, stage.tasks, nn.Parameter(narrow)
        self.banks = nn.ModuleList(nn.ModuleDict(_batched(block, form)) for block in stage.blocks)

    def forward(self, tap: StageTap) -> dict[str, Tensor]:
        """Return each task's downsampled feature, ``[1, height, width, narrow]``."""
        adapted = self._adapted(tap.blocks)
        generic = tap.output.flatten(0, 2)
        features = generic + adapted
        if self.stage.tsai is not None:
            features = features + self._bridge(generic, adapted)
        narrow = (features @ self.narrow.transpose(1, 2)).unflatten(1, tap.output.shape[1:3])
        return {task: narrow[index : index + 1] for index, task in enumerate(self.tasks)}

    def _adapted(self, taps: Sequence[BlockTap]) -> Tensor:
        deltas: list[Tensor] = []
        for banks, tap in zip(self.banks, taps, strict=True):
            assert isinstance(banks, nn.ModuleDict)
            deltas += [bank(getattr(tap, site)) for site, bank in banks.items()]
        return sum(deltas[1:], deltas[0])

    def _bridge(self, generic: Tensor, adapted: Tensor) -> Tensor:
        tsai = self.stage.tsai
        assert tsai is not None
        bridge: Tensor = tsai.bridge(torch.cat([generic, adapted.mean(0)], -1))
        if tsai.weight is not None:
            return tsai.weight.sigmoid()[:, None] * bridge
        assert tsai.gate is not None
        pooled = torch.cat([generic.mean(0).expand(len(self.tasks), -1), adapted.mean(1)], -1)[..., None]
        rows = tsai.gate.weight.unflatten(0, (len(self.tasks), -1))
        gamma: Tensor = (rows @ pooled).transpose(1, 2).sigmoid()
        return gamma * bridge


def _batched(block: nn.Module, form: Form) -> dict[str, nn.Module]:
    assert isinstance(block, TdssBlock)
    return {site: BatchedBank(bank, form) for site, bank in block.banks.items() if isinstance(bank, SkillBank)}


def batch_tasks(model: MultiTaskModel, form: Form) -> MultiTaskModel:
    """Replace, in place, the loops over experts and tasks by tensors with those axes; returns the model."""
    stages = model.adapter.stages
    assert isinstance(stages, nn.ModuleList)
    for index, stage in enumerate(stages):
        assert isinstance(stage, TdssStage)
        stages[index] = BatchedStage(stage, _take_downsamplers(model, index), form)
    return model


def _take_downsamplers(model: MultiTaskModel, index: int) -> Tensor:
    """Return P of every task at one stage, ``[tasks, narrow, dim]``, and leave identities in their place."""
    decoders = _decoders(model)
    narrow = torch.stack([decoder.downsamplers[index].weight for decoder in decoders])  # type: ignore[misc]
    for decoder in decoders:
        decoder.downsamplers[index] = nn.Identity()
    return narrow.detach()


def _decoders(model: MultiTaskModel) -> list[HrnetDecoder]:
    assert isinstance(model.decoders, HrnetDecoders)
    return [decoder for decoder in model.decoders.values() if isinstance(decoder, HrnetDecoder)]


class AdapterPart(nn.Module):
    """A model's adapters and downsamplers: the backbone's taps in, what every task's head reads of every stage out.

    Where the head halves a stage's map, the mean of 2 × 2 places goes out.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.decoders = nn.ModuleList(_decoders(model))
        self.sizes = model.backbone.sizes
        self.depths = model.config.backbone.depths
        self.stages = model.adapter.stages

    def forward(self, *taps: Tensor) -> list[Tensor]:
        """Take, per stage, the MLP input of every block and the stage's output, ``[1, height, width, dim]``."""
        found, rest = [], list(taps)
        for index, (depth, stage) in enumerate(zip(self.depths, self.stages, strict=True)):  # type: ignore[arg-type]
            blocks = tuple(BlockTap(rest[block], rest[block]) for block in range(depth))
            features = stage(StageTap(blocks, rest[depth])).values()
            found += [self._narrow(index, decoder, x) for decoder, x in zip(self.decoders, features, strict=True)]
            rest = rest[depth + 1 :]
        return found

    def _narrow(self, index: int, decoder: nn.Module, feature: Tensor) -> Tensor:
        assert isinstance(decoder, HrnetDecoder)
        narrow: Tensor = decoder.downsamplers[index](feature)
        if tuple(self.sizes[index]) != tuple(2 * side for side in decoder.head.grid):
            return narrow
        halved: Tensor = narrow.unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).mean((2, 4))
        return halved
