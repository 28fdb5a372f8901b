"""What a folded module's answer is compared with: the models' equations in NumPy float64, and how far it is from them.

The adapters' equations are in tests/tdss/oracle.py. Nothing calls a module: weights are read from a model that no fold has touched.
"""

import numpy as np
import torch
from torch import Tensor, nn

from tdss.adapters.tdss import TdssStage
from tdss.backbones.base import BlockTap, StageTap
from tdss.decoders.hrnet import HrnetDecoder
from tdss.model import MultiTaskModel
from tests.tdss.oracle import (
    Array,
    activate,
    adapted,
    affine,
    array,
    deltas,
    far,
    features,
    gammas,
    gate_values,
    hidden,
    sigmoid,
    softmax,
)

__all__ = [
    "TIGHT",
    "Array",
    "activate",
    "adapted",
    "affine",
    "array",
    "deltas",
    "downsampled",
    "downsamplers",
    "draw",
    "far",
    "features",
    "gammas",
    "gate_values",
    "halve",
    "hidden",
    "make_linear",
    "make_tap",
    "normed",
    "sigmoid",
    "softmax",
]
TIGHT = 1e-12  # of one module; a whole model's bound is EXACT_RELATIVE


def draw(*shape: int, seed: int = 1) -> Tensor:
    """A random float64 tensor."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make_linear(inputs: int, outputs: int, *, bias: bool = True, seed: int = 1) -> nn.Linear:
    """A random float64 linear."""
    linear = nn.Linear(inputs, outputs, bias, dtype=torch.float64)
    for place, parameter in enumerate(linear.parameters()):
        parameter.data = draw(*parameter.shape, seed=seed + place)
    return linear


def normed(x: Array, eps: float) -> Array:
    """(x − mean)/√(var + ε) over channels."""
    centred = x - x.mean(-1, keepdims=True)
    result: Array = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return result


def halve(x: Array) -> Array:
    """The mean of 2×2 neighbours of ``[…, height, width, channels]``."""
    corners = (x[..., i::2, j::2, :] for i in (0, 1) for j in (0, 1))
    result: Array = sum(corners, np.zeros(1)) / 4
    return result


def downsampled(model: MultiTaskModel, index: int, tap: StageTap, *, pooled: bool) -> dict[str, Array]:
    """z_t = P_t F_t of each task, from the weights of a model with its stage and downsamplers as they were made."""
    stage = model.adapter.get_submodule(f"stages.{index}")
    assert isinstance(stage, TdssStage)
    narrow = [array(weight) for weight in downsamplers(model, index)]
    z = {task: f @ p.T for task, f, p in zip(stage.tasks, features(stage, tap), narrow, strict=True)}
    return {task: halve(part) if pooled else part for task, part in z.items()}


def downsamplers(model: MultiTaskModel, index: int) -> list[Tensor]:
    """P_t of each task, ``[narrow, dim]``."""
    weights = []
    for decoder in model.decoders.values():
        assert isinstance(decoder, HrnetDecoder)
        weights.append(decoder.downsamplers[index].weight)
    return weights  # type: ignore[return-value]


def make_tap(model: MultiTaskModel, index: int, seed: int = 3) -> StageTap:
    """A random tap of a stage: two images."""
    stage = model.adapter.get_submodule(f"stages.{index}")
    shape = (2, *model.backbone.sizes[index], model.config.backbone.width(index))
    count = len(stage.get_submodule("blocks"))  # type: ignore[arg-type]
    blocks = [BlockTap(draw(*shape, seed=seed + 2 * b), draw(*shape, seed=seed + 2 * b + 1)) for b in range(count)]
    return StageTap(tuple(blocks), draw(*shape, seed=seed + 2 * count))
