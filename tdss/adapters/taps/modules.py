"""TAPS (Wallingford et al., CVPR 2022) on the linears of a Swin or a ViT: each task learns which of them it specialises.

The publication and its code classify images with a ResNet. The gate and the penalty are theirs; all else is our port:

    W_i = W0_i + 1[s_i ≥ 0.1] dW_i          every linear of a block or merging; s starts at 0.15, dW at 0, W0 is frozen
    ∂s_i = ⟨∂W_i, dW_i⟩                     straight through, so that a closed gate can open; ∂dW_i is 0 where it is closed
    loss + λ Σ_i |s_i| / N for each task    in epochs greater than the warm-up; N is the number of the task's scores

A *unit* is a block, or what follows the blocks of a stage. A task leaves the common stream at its first unit with an open
gate, and from there on has LayerNorms of its own. What comes before it is computed once for all tasks. A task alone is a
plain backbone with other numbers in it. In training each task leaves at the first unit with a score, for its gradient.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bundle.base.errors import ConfigError
from tdss.adapters.base import Adapter, TaskFeatures
from tdss.adapters.taps.config import TapsConfig
from tdss.backbones.base import Backbone, BlockTap, Flow, Stage, StageTap
from tdss.linears import matching
from tdss.part import Moment

THRESHOLD, START = 0.1, 0.15  # of a score
RELEASED_DIVISOR = 52.0  # whatever the network
Step: TypeAlias = tuple[Flow, BlockTap | StageTap]


class Unit(NamedTuple):
    """A module that maps a flow: its path, its other arguments, and the paths inside it of linears and norms."""

    path: str
    arguments: tuple[int, ...]
    linears: tuple[str, ...]
    norms: tuple[str, ...]

    def of(self, names: Sequence[str]) -> dict[str, str]:
        """Return the paths in the backbone of modules inside the unit, each with the module's."""
        return {f"{self.path}.{name}": name for name in names}


def units_of(backbone: Backbone) -> Iterator[Unit]:
    """Yield the units of a backbone in the order of its forward pass."""
    for number, stage in enumerate(backbone.stages):
        assert isinstance(stage, Stage)
        for index, block in enumerate(stage.blocks):
            yield Unit(f"stages.{number}.blocks.{index}", (), _paths(block, nn.Linear), _paths(block, nn.LayerNorm))
        ends = [
            tuple(path for path in _paths(stage, kind) if not path.startswith("blocks."))
            for kind in (nn.Linear, nn.LayerNorm)
        ]
        yield Unit(f"stages.{number}", (len(stage.blocks),), *ends)


def _paths(module: nn.Module, kind: type[nn.Module]) -> tuple[str, ...]:
    return tuple(path for path, inner in module.named_modules() if isinstance(inner, kind))


def gate(score: Tensor) -> Tensor:
    """Return 1[s ≥ 0.1], whose gradient is that of s."""
    return (score >= THRESHOLD).to(score.dtype) + (score - score.detach())


def sparsity(scores: Sequence[Tensor], factor: float, divisor: float) -> Tensor:
    """Return λ Σ|s| / N."""
    return factor / divisor * torch.stack([score.abs().sum() for score in scores]).sum()


class Residual(nn.Module):
    """What a task adds to one weight: dW, and its score, unless it is settled that the gate is open.

    ``open`` follows the score when the mode is set, as each training step and each evaluation does, and when weights are loaded.
    So an export knows it.
    """

    score: nn.Parameter | None

    def __init__(self, weight: Tensor, *, scored: bool) -> None:
        super().__init__()
        self.open = True
        self.residual = nn.Parameter(torch.zeros_like(weight))
        self.score = nn.Parameter(weight.new_full((), START)) if scored else None
        self.register_load_state_dict_post_hook(_follow)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> "Residual":
        """See ``nn.Module.train``."""
        _follow(self)
        return super().train(mode)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the task's weight, of the shape of ``weight``."""
        if self.training and self.score is not None:
            return weight + gate(self.score) * self.residual
        return weight + self.residual if self.open else weight


def _follow(residual: Residual, *_: object) -> None:
    """Let ``open`` follow the score."""
    residual.open = residual.score is None or bool(residual.score >= THRESHOLD)


class TaskLayers(nn.Module):
    """One task's residuals and norms, by the paths of what they belong to; a key has ``_`` in the place of dots."""

    def __init__(self, backbone: Backbone, units: Sequence[Unit], chosen: set[str], *, scored: bool) -> None:
        super().__init__()
        self.units = units
        self.layers = nn.ModuleDict(
            {
                _key(path): Residual(backbone.get_parameter(f"{path}.weight"), scored=scored)
                for unit in units
                for path in unit.of(unit.linears)
                if path in chosen
            }
        )
        own = [path for unit in units[self.first() :] for path in unit.of(unit.norms)]
        self.norms = nn.ModuleDict({_key(path): deepcopy(backbone.get_submodule(path)) for path in own})

    def residuals(self, unit: Unit) -> dict[str, Residual]:
        """Return the residuals inside a unit by their linears' paths in the backbone."""
        held = {path: self.layers[_key(path)] for path in unit.of(unit.linears) if _key(path) in self.layers}
        return {path: residual for path, residual in held.items() if isinstance(residual, Residual)}

    def first(self, *, is_open: bool = False) -> int:
        """Return the first unit that has a residual, or one that is open; the number of units if there is none."""
        found = [any(part.open or not is_open for part in self.residuals(unit).values()) for unit in self.units]
        return found.index(True) if any(found) else len(found)

    def scores(self) -> list[Tensor]:
        """Return the scores."""
        found = (residual.score for unit in self.units for residual in self.residuals(unit).values())
        return [score for score in found if score is not None]

    def weights(self, unit: Unit, module: nn.Module, *, own_norms: bool) -> dict[str, Tensor]:
        """Return the weights that differ from the unit's, by their names in its module."""
        names, residuals = unit.of(unit.linears), self.residuals(unit)
        found = {f"{names[path]}.weight": part for path, part in residuals.items()}
        weights = {name: part(module.get_parameter(name)) for name, part in found.items()}
        for path, name in unit.of(unit.norms).items():
            for part, own in self.norms[_key(path)].named_parameters():
                base = module.get_parameter(f"{name}.{part}")
                weights[f"{name}.{part}"] = own if own_norms else base + 0 * own  # a gradient, which processes wait for
        return weights

    def settle(self) -> tuple[str, ...]:
        """Drop the scores, what is closed, and the norms before the first open gate; return the paths that stay."""
        start = self.first(is_open=True)
        held = {path: part for unit in self.units for path, part in self.residuals(unit).items() if part.open}
        for residual in held.values():
            residual.score = None
        norms = [_key(path) for unit in self.units[start:] for path in unit.of(unit.norms)]
        self.layers = nn.ModuleDict({_key(path): residual for path, residual in held.items()})
        self.norms = nn.ModuleDict({key: self.norms[key] for key in norms})
        return tuple(held)


def _key(path: str) -> str:
    return path.replace(".", "_")


class Taps(Adapter):
    """Runs the backbone once for each task, from where the task leaves the common stream."""

    config: TapsConfig

    def __init__(self, config: TapsConfig, backbone: Backbone, tasks: Sequence[str]) -> None:
        super().__init__(config, backbone, tasks)
        self.units = tuple(units_of(backbone))
        paths = [path for unit in self.units for path in unit.of(unit.linears)]
        scored = config.specialised is None
        patterns = config.specialised or dict.fromkeys(tasks if scored else (), config.layers)
        _require_some(paths, [pattern for task in patterns for pattern in patterns[task]])
        self.own = nn.ModuleDict(
            {
                task: TaskLayers(backbone, self.units, matching(paths, patterns.get(task, ())), scored=scored)
                for task in tasks
            }
        )

    def features(self, backbone: Backbone, image: Tensor) -> TaskFeatures:
        """Run the common units once and each task's own; every task gets the stages' outputs of its stream."""
        flows = dict.fromkeys(self.tasks, Flow(backbone.embed(image), {}))
        outputs: TaskFeatures = {task: [] for task in self.tasks}
        leaves = {task: self._of(task).first(is_open=not self.training) for task in self.tasks}
        for index, unit in enumerate(self.units):
            module, together = backbone.get_submodule(unit.path), [task for task in self.tasks if leaves[task] > index]
            steps = {task: self._step(task, index, module, flows[task]) for task in self.tasks if task not in together}
            if together:
                steps |= dict.fromkeys(together, module(flows[together[0]], *unit.arguments))
            for task, (flow, tap) in steps.items():
                flows[task] = flow
                if isinstance(tap, StageTap):
                    outputs[task].append(tap.output)
        return outputs

    def _step(self, task: str, index: int, module: nn.Module, flow: Flow) -> Step:
        unit, layers = self.units[index], self._of(task)
        weights = layers.weights(unit, module, own_norms=index >= layers.first(is_open=True))
        step: Step = functional_call(module, weights, (flow, *unit.arguments))
        return step

    def _of(self, task: str) -> TaskLayers:
        layers = self.own[task]
        assert isinstance(layers, TaskLayers)
        return layers

    def keep(self, tasks: Sequence[str]) -> None:
        """Drop the layers of other tasks."""
        super().keep(tasks)
        self.own = nn.ModuleDict({task: self.own[task] for task in tasks})

    def penalties(self, moment: Moment) -> Mapping[str, Tensor]:
        """Return the penalty of scores, after the warm-up."""
        scores = [score for task in self.tasks for score in self._of(task).scores()]
        if not scores or moment.epoch <= self.config.warmup:
            return {}
        divisor = RELEASED_DIVISOR if self.config.divisor == "released" else len(scores) / len(self.tasks)
        return {"sparsity": sparsity(scores, self.config.sparsity, divisor)}

    def settle(self) -> TapsConfig:
        """Keep what acts only, and name it in the configuration."""
        return self.config.model_copy(update={"specialised": {task: self._of(task).settle() for task in self.tasks}})


def _require_some(paths: Sequence[str], patterns: Sequence[str]) -> None:
    """Refuse a pattern that no linear matches.

    Raises:
        ConfigError: there is one.
    """
    if unused := sorted({pattern for pattern in patterns if not matching(paths, (pattern,))}):
        raise ConfigError(
            "a pattern names no linear of the backbone",
            expected=f"patterns of names as {paths[0]}",
            got=", ".join(unused),
            where="adapter.layers and adapter.specialised",
            fix="correct the pattern; * is any text, dots too",
        )
