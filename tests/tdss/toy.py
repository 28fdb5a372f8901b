"""A system that uses every part of the contracts and that nothing publishes: tokens beside the map, joint decoders, training parts."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from tdss import systems
from tdss.adapters.base import StreamAdapter, TaskFeatures
from tdss.adapters.config import AdapterConfig
from tdss.backbones.base import BlockTap, Flow
from tdss.backbones.swin import PatchMerging, Swin, SwinBlock, SwinStage
from tdss.config import ModelConfig
from tdss.decoders.base import AUXILIARY, Decoders, Sizes
from tdss.decoders.config import DecoderConfig
from tdss.linears import take_over
from tdss.part import Moment


class ToyAdapterConfig(AdapterConfig):
    kind: Literal["toy"] = "toy"
    settled: bool = False

    def trainable(self) -> tuple[str, ...]:
        return ("backbone.state.*", "backbone.*.widen.*", "backbone.*norm1*")


class ToyDecoderConfig(DecoderConfig):
    kind: Literal["toy"] = "toy"


class Tokens(nn.Module):
    def __init__(self, dim: int, tasks: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(tasks, dim))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"tokens": self.tokens.expand(len(x), -1, -1)}


class ToyBlock(SwinBlock):
    """Tokens are moved by the map's mean; the streams are the map plus a token."""

    def __init__(self, block: SwinBlock, tasks: Sequence[str]) -> None:
        take_over(self, block)
        self.tasks = tuple(tasks)

    def forward(self, flow: Flow) -> tuple[Flow, BlockTap]:
        after, tap = super().forward(flow)
        tokens = flow.state["tokens"] + after.x.mean((1, 2))[:, None]
        streams = {task: after.x + tokens[:, index, None, None] for index, task in enumerate(self.tasks)}
        return Flow(after.x, {"tokens": tokens}), tap._replace(streams=streams)


class ToyMerging(PatchMerging):
    """The tokens get the next stage's width."""

    def __init__(self, merging: PatchMerging) -> None:
        take_over(self, merging)
        self.widen = nn.Linear(merging.reduction.out_features // 2, merging.reduction.out_features, bias=False)

    def advance(self, flow: Flow) -> Flow:
        return Flow(self(flow.x), {"tokens": self.widen(flow.state["tokens"])})


class Toy(StreamAdapter):
    def __init__(self, config: ToyAdapterConfig, backbone: Swin, tasks: Sequence[str]) -> None:
        super().__init__(config, backbone, tasks)
        backbone.state = Tokens(backbone.config.embed_dim, len(tasks))
        for blocks, index in backbone.blocks():
            block = blocks[index]
            assert isinstance(block, SwinBlock)
            blocks[index] = ToyBlock(block, tasks)
        for stage in backbone.stages:
            assert isinstance(stage, SwinStage)
            if stage.downsample is not None:
                stage.downsample = ToyMerging(stage.downsample)
        if not config.settled:
            self.scores = nn.Parameter(torch.zeros(len(tasks)))

    def settle(self) -> AdapterConfig:
        del self.scores
        return self.config.model_copy(update={"settled": True})


class ToyDecoders(Decoders):
    """Each task adds the mean of all tasks; training samples how much of it, and shrinks it at the end of an epoch."""

    kept: Tensor
    seen: Tensor

    def __init__(self, config: ToyDecoderConfig, sizes: Sizes) -> None:
        super().__init__()
        self.image, self.trained = sizes.image, tuple(sizes.tasks)
        self.answered, self.share = self.trained, 1.0
        self.heads = nn.ModuleDict(
            {task: nn.Conv2d(sizes.stages[-1].channels, channels, 1) for task, channels in sizes.tasks.items()}
        )
        self.register_buffer("kept", torch.ones(()), persistent=False)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, features: TaskFeatures) -> dict[str, Tensor]:
        last = {task: features[task][-1].permute(0, 3, 1, 2) for task in self.trained}
        mean = self.share * self.kept * torch.stack(list(last.values())).mean(0)
        small = {task: self.heads[task](last[task] + mean) for task in self.answered}
        outputs = {task: nn.functional.interpolate(x, size=self.image) for task, x in small.items()}
        return outputs | ({f"{task}{AUXILIARY}side": 0.5 * x for task, x in outputs.items()} if self.training else {})

    def needed(self, tasks: Sequence[str]) -> tuple[str, ...]:
        return self.trained

    def keep(self, tasks: Sequence[str]) -> None:
        self.answered = tuple(tasks)
        self.heads = nn.ModuleDict({task: self.heads[task] for task in tasks})

    def before_step(self, moment: Moment) -> None:
        self.share = float(torch.rand((), generator=moment.draw))

    def after_backward(self, moment: Moment) -> None:
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        self.seen.mul_(0.9).add_(sum(float(gradient.abs().sum()) for gradient in gradients))

    def after_epoch(self, moment: Moment) -> None:
        self.kept.mul_(0.5 + 0.1 * torch.rand((), generator=moment.draw)).add_(1e-3 * self.seen.tanh())

    def penalties(self, moment: Moment) -> Mapping[str, Tensor]:
        if moment.epoch == 0:
            return {}
        return {"toy": 0.01 * torch.stack([head.weight.abs().sum() for head in self.heads.values()]).sum()}

    def loss_factors(self, epochs: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
        if len(epochs) < 2:
            return {}
        return {task: epochs[-1][task] / epochs[-2][task] for task in self.trained}

    def training_state(self) -> Mapping[str, Tensor]:
        return {"kept": self.kept, "seen": self.seen}


def toyed(config: ModelConfig) -> ModelConfig:
    """Return a configuration with the toy's adapter and decoder; the table of systems does not have them."""
    systems._CLASSES[ToyAdapterConfig] = (__name__, "Toy")
    systems._CLASSES[ToyDecoderConfig] = (__name__, "ToyDecoders")
    return config.model_copy(update={"adapter": ToyAdapterConfig(), "decoder": ToyDecoderConfig()})
