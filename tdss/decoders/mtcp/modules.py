"""MT-CP (WACV 2025) behind a backbone of ours: one shared map, a small Swin per task, fusion, refinement, heads.

The release has Mask2Former in front: its pixel decoder's map P, and the sum over the queries q of their mask logits, which
are products of query embeddings with P. So the shared map is S = P ⊙ Σ_q⟨e_q, P⟩, where the queries depend on the image.
Behind another backbone an FPN over its stages makes P, and one learned vector e takes the place of Σ_q e_q. That is our
reconstruction; everything below it is the released computation.

    P      = FPN(stages of the backbone),   S = P ⊙ (⟨e, P⟩ + b)     e starts at 0, b at 1
    t_k    = LN(stage k of the task's Swin on S)
    x      = FPN(t_0, t_1, …)                                        of each task
    f_0    = fusion of x with the other tasks' x (attention.py)
    j_k    = [resize(CBAM f_k) ; CBAM t]                             t from the coarsest stage to the finest
    p_k    = ReLU(BN(Conv1×1 j_k)),   f_{k+1} = ReLU(BN(Conv1×1 j_k))
    output = resize(head(p_last));   in training TASK@k = resize(side head of p_k) for the coarser ones
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from bundle.tasks.table import task as task_row
from tdss.adapters.base import TaskFeatures
from tdss.backbones.base import Flow
from tdss.backbones.config import ImageConfig, SwinConfig
from tdss.backbones.swin import SwinBlock, SwinStage, shift_mask, stage_sizes
from tdss.decoders.base import AUXILIARY, Decoders, Sizes
from tdss.decoders.hrnet import resize
from tdss.decoders.mtcp import balance
from tdss.decoders.mtcp.attention import Cbam, Fusion
from tdss.decoders.mtcp.config import MtcpConfig

DEPTH_HIDDEN = 32
SIDE_CONVOLUTIONS = {"semseg": 2, "depth": 2, "normals": 2}
"""How many bias-free convolutions the release puts before the norm of a side head, where it is not one."""


class Fpn(nn.Module):
    """A feature pyramid, of which the finest map is used: 1×1 laterals, nearest upsampling, a 3×3 convolution."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in widths)
        self.smooth = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map ``[batch, channels, height, width]`` per stage, finest first, to ``width`` channels on the first one's grid."""
        *finer, joined = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for x in reversed(finer):
            joined = functional.interpolate(joined, size=x.shape[2:], mode="nearest") + x
        return self.smooth(joined)  # type: ignore[no-any-return]


class Neck(nn.Module):
    """The shared map S of the backbone's stages from ``finest`` on."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.fpn = Fpn(widths, width)
        self.weigh = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.weigh.weight)
        nn.init.constant_(self.weigh.get_parameter("bias"), 1.0)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """Map one ``[batch, height, width, channels]`` per stage to ``[batch, width, height, width]``."""
        pixels = self.fpn([x.permute(0, 3, 1, 2) for x in stages])
        return pixels * self.weigh(pixels)  # type: ignore[no-any-return]


class TaskStages(nn.Module):
    """One task's Swin without a patch embedding; each stage's map is normed.

    Odd blocks shift their windows on every grid, as in the release: a Swin of ours does not where the window covers the map.
    """

    def __init__(self, config: SwinConfig, height: int, width: int) -> None:
        super().__init__()
        sizes = stage_sizes(config, ImageConfig(height=height, width=width))
        self.stages = nn.ModuleList(
            SwinStage(config, stage, size, (0.0,) * config.depths[stage]) for stage, size in enumerate(sizes)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(config.width(stage)) for stage in range(len(sizes)))
        for stage in self.stages:
            assert isinstance(stage, SwinStage)
            for block in list(stage.blocks)[1::2]:
                assert isinstance(block, SwinBlock)
                block.shift = block.window // 2
                block.mask = shift_mask(block.padded[0], block.padded[1], block.window, block.shift)

    def forward(self, shared: Tensor) -> list[Tensor]:
        """Map ``[batch, channels, height, width]`` to one such map per stage, finest first."""
        flow, maps = Flow(shared.permute(0, 2, 3, 1), {}), []
        for stage, norm in zip(self.stages, self.norms, strict=True):
            flow, tap = stage(flow)
            maps.append(norm(tap.output).permute(0, 3, 1, 2))
        return maps


def conv_norm_relu(channels: int, width: int, *, convolutions: int = 1, bias: bool) -> list[nn.Module]:
    """Return 1×1 convolutions, a batch norm and a ReLU."""
    widths = [channels] + [width] * convolutions
    return [*(nn.Conv2d(*pair, 1, bias=bias) for pair in pairwise(widths)), nn.BatchNorm2d(width), nn.ReLU()]


class Refinement(nn.Module):
    """One step back: what comes from the coarser step is refined by a stage's map; the last step carries nothing on."""

    def __init__(self, coming: int, stage: int, width: int, *, last: bool) -> None:
        super().__init__()
        self.coming, self.stage = Cbam(coming), Cbam(stage)
        self.predict = nn.Sequential(*conv_norm_relu(coming + stage, width, bias=True))
        self.carry = nn.Identity() if last else nn.Sequential(*conv_norm_relu(coming + stage, stage, bias=True))

    def forward(self, coming: Tensor, stage: Tensor) -> tuple[Tensor, Tensor]:
        """Return the prediction's features and what goes on, on the stage's grid."""
        x = resize(self.coming(coming), (stage.shape[2], stage.shape[3]))
        joined = torch.cat([x, self.stage(stage)], 1)
        return self.predict(joined), self.carry(joined)


class TaskDecoder(nn.Module):
    """One task behind its stages: fusion, refinement from the coarsest stage to the finest, the head and the side heads."""

    def __init__(self, config: MtcpConfig, task: str, channels: int, *, others: int) -> None:
        super().__init__()
        width, stages = config.width, len(config.depths)
        widths = [config.swin().width(stage) for stage in reversed(range(stages))]
        self.fusion = Fusion(width, others) if others else None
        self.refinements = nn.ModuleList(
            Refinement(coming, stage, width, last=stage == width)
            for coming, stage in zip([width, *widths], widths, strict=False)
        )
        self.head = nn.Sequential(*_head(task, width, channels, config))
        convolutions = SIDE_CONVOLUTIONS.get(task, 1)
        self.sides = nn.ModuleList(
            nn.Sequential(
                *conv_norm_relu(width, width, convolutions=convolutions, bias=False), nn.Conv2d(width, channels, 1)
            )
            for _ in range(stages - 1)
        )

    def forward(
        self, own: Tensor, others: Sequence[Tensor], stages: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the head's output and, in training mode, the side heads', coarsest first.

        ``own`` and ``others`` are the tasks' joined maps, ``stages`` are those of this task, finest first.
        """
        coming = own if self.fusion is None else self.fusion(own, others)
        steps = []
        for refinement, stage in zip(self.refinements, reversed(stages), strict=True):
            features, coming = refinement(coming, stage)
            steps.append(features)
        *coarser, last = steps
        sides = zip(self.sides, coarser, strict=True) if self.training else ()
        return self.head(last), tuple(side(x) for side, x in sides)


def _head(task: str, width: int, channels: int, config: MtcpConfig) -> list[nn.Module]:
    larger = nn.Upsample(scale_factor=config.upsample, mode="bilinear", align_corners=True)
    if task in config.deep_heads:
        first, second = nn.Conv2d(width, max(width // 2, 1), 1), nn.Conv2d(max(width // 2, 1), DEPTH_HIDDEN, 1)
        return [first, larger, second, nn.ReLU(), nn.Conv2d(DEPTH_HIDDEN, channels, 1)]
    plain = [*conv_norm_relu(width, width, bias=False), nn.Conv2d(width, channels, 1)]
    has_classes = task_row(task).channels is None  # the data says how many
    return [*plain, larger] if has_classes else plain


class MtcpDecoders(Decoders):
    """All tasks: the neck, then each task's stages and joined map, which every other task reads, then its decoder.

    The neck's weights are shared. Where all tasks have the same features, as with adapter ``none``, it is one map, which
    the exported graph computes once.
    """

    def __init__(self, config: MtcpConfig, sizes: Sizes) -> None:
        super().__init__()
        self.config, self.image, swin = config, sizes.image, config.swin()
        stages = sizes.stages[config.finest :]
        self.neck = Neck([stage.channels for stage in stages], config.width)
        self.stages = nn.ModuleDict({task: TaskStages(swin, stages[0].height, stages[0].width) for task in sizes.tasks})
        widths = [swin.width(stage) for stage in range(len(swin.depths))]
        self.fpns = nn.ModuleDict({task: Fpn(widths, config.width) for task in sizes.tasks})
        self.tasks = nn.ModuleDict(
            {
                task: TaskDecoder(config, task, channels, others=len(sizes.tasks) - 1)
                for task, channels in sizes.tasks.items()
            }
        )

    def forward(self, features: TaskFeatures) -> dict[str, Tensor]:
        """Answer every task, in training mode its side heads too."""
        return self.decode({task: self.neck(features[task][self.config.finest :]) for task in self.stages})

    def decode(self, shared: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Answer every task from its shared map ``[batch, width, height, width]``."""
        stages = {task: own(shared[task]) for task, own in self.stages.items()}
        joined = {task: fpn(stages[task]) for task, fpn in self.fpns.items()}
        outputs, sides = dict[str, Tensor](), dict[str, Tensor]()
        for task, decoder in self.tasks.items():
            others = [x for name, x in joined.items() if name != task]
            output, coarser = decoder(joined[task], others, stages[task])
            outputs[task] = resize(output, self.image)
            sides |= {f"{task}{AUXILIARY}{step}": resize(x, self.image) for step, x in enumerate(coarser)}
        return outputs | sides

    def needed(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Every task reads every other's map."""
        return tuple(self.stages)

    def keep(self, tasks: Sequence[str]) -> None:
        """Drop the decoders of other tasks; their stages stay."""
        for task in [task for task in self.tasks if task not in tasks]:
            del self.tasks[task]

    def loss_factors(self, epochs: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
        """Return the balancing weights, if they are on."""
        if self.config.balance == "off":
            return {}
        losses = [{task: epoch[task] for task in self.tasks} for epoch in epochs]
        if self.config.log_losses:
            losses = [balance.project(epoch) for epoch in losses]
        found = balance.weights(losses, self.config.spread)
        least = 0.0 if self.config.balance == "clamped" else float("-inf")
        return {task: max(weight, least) for task, weight in found.items()}
