"""The models' equations in NumPy float64, written from their algebra: what a folded module's answer is compared with.

Nothing here calls a module: weights are read from a model that no fold has touched, and everything else is NumPy.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from tdss.adapters.tdss import DynamicGate, SkillBank, StaticGate, TdssBlock, TdssStage
from tdss.backbones.base import BlockTap, StageTap
from tdss.decoders.hrnet import HrnetDecoder
from tdss.model import MultiTaskModel

Array = np.ndarray
TIGHT = 1e-12  # of one module; a whole model's bound is EXACT_RELATIVE


def array(x: Tensor) -> Array:
    """Copy a tensor: folds write in place."""
    return x.detach().numpy().copy()


def draw(*shape: int, seed: int = 1) -> Tensor:
    """A random float64 tensor."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make_linear(inputs: int, outputs: int, *, bias: bool = True, seed: int = 1) -> nn.Linear:
    """A random float64 linear."""
    linear = nn.Linear(inputs, outputs, bias, dtype=torch.float64)
    for place, parameter in enumerate(linear.parameters()):
        parameter.data = draw(*parameter.shape, seed=seed + place)
    return linear


def far(want: Array, got: Tensor | Array) -> float:
    """The largest difference relative to the largest value, if there is one but 0; shapes must agree."""
    other = array(got) if isinstance(got, Tensor) else got
    assert other.shape == want.shape, f"{other.shape} is not {want.shape}"
    return float(np.abs(want - other).max() / (np.abs(want).max() or 1.0))


def affine(x: Array, linear: nn.Linear) -> Array:
    """W x + b."""
    bias = array(linear.bias) if "bias" in linear.state_dict() else 0.0
    product: Array = x @ array(linear.weight).T + bias
    return product


def normed(x: Array, eps: float) -> Array:
    """(x − mean)/√(var + ε) over channels."""
    centred = x - x.mean(-1, keepdims=True)
    result: Array = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return result


def softmax(logits: Array) -> Array:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    result: Array = powers / powers.sum(-1, keepdims=True)
    return result


def sigmoid(x: Array) -> Array:
    """1/(1 + e^−x)."""
    result: Array = 1 / (1 + np.exp(-x))
    return result


def halve(x: Array) -> Array:
    """The mean of 2×2 neighbours of ``[…, height, width, channels]``."""
    corners = (x[..., i::2, j::2, :] for i in (0, 1) for j in (0, 1))
    result: Array = sum(corners, np.zeros(1)) / 4
    return result


def activate(activation: nn.Module, x: Array) -> Array:
    """σ: nothing, ReLU or the exact GELU."""
    if isinstance(activation, nn.GELU):
        return np.asarray(x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2)
    return np.maximum(x, 0) if isinstance(activation, nn.ReLU) else x


def gate_values(gate: nn.Module, n: Array) -> Array:
    """softmax over the k largest of (z_t + V_t·GAP(n))/τ, ``[batch, tasks, experts]``; V is 0 for a static gate."""
    assert isinstance(gate, StaticGate | DynamicGate)
    if isinstance(gate, StaticGate):
        logits = np.broadcast_to(array(gate.logits), (len(n), *gate.logits.shape))
    else:
        logits = affine(n.mean((1, 2)), gate.logits).reshape(len(n), gate.tasks, -1)
    logits, k = logits / gate.config.temperature, gate.config.top_k
    if 0 < k < logits.shape[-1]:
        logits = np.where(logits < np.sort(logits, -1)[..., [-k]], -np.inf, logits)
    return softmax(logits)


def hidden(bank: SkillBank, n: Array) -> Array:
    """u = σ(A n)."""
    return activate(bank.activation, affine(n, bank.down))


def deltas(bank: SkillBank, n: Array, gate: Array | None = None, kept: tuple[int, ...] | None = None) -> Array:
    """Δ_t = α Σ_e g_t,e B_e u_e over the skills ``kept``, ``[tasks, batch, height, width, dim]``; ``gate`` replaces g."""
    u, up, rank = hidden(bank, n), array(bank.up.weight), bank.rank
    values = gate_values(bank.gate, n) if gate is None else np.broadcast_to(gate, (len(n), *gate.shape[-2:]))
    skills = range(up.shape[1] // rank) if kept is None else kept
    parts = [(slice(skill * rank, (skill + 1) * rank), skill) for skill in skills]
    added = [np.einsum("bt,bhwd->tbhwd", values[..., e], u[..., rows] @ up[:, rows].T) for rows, e in parts]
    total: Array = bank.alpha * sum(added, np.zeros((values.shape[1], *n.shape)))
    return total


def adapted(stage: TdssStage, tap: StageTap) -> Array:
    """D_t of every trained task, ``[trained tasks, batch, height, width, dim]``."""
    total = np.zeros(1)
    for block, inputs in zip(stage.blocks, tap.blocks, strict=True):
        assert isinstance(block, TdssBlock)
        for site, bank in block.banks.items():
            if isinstance(bank, SkillBank):
                total = total + deltas(bank, array(getattr(inputs, site)))
    return total


def gammas(stage: TdssStage, generic: Array, own: Array) -> Array:
    """γ_t of the answered tasks, ``[tasks, batch, dim]``."""
    assert stage.tsai is not None
    if stage.tsai.weight is not None:
        return sigmoid(array(stage.tsai.weight))[:, None].repeat(generic.shape[0], 1)
    assert stage.tsai.gate is not None
    weight = array(stage.tsai.gate.weight).reshape(len(own), generic.shape[-1], -1)
    shared = np.broadcast_to(generic.mean((1, 2)), (len(own), *generic.shape[::3]))
    pooled = np.concatenate([shared, own.mean((2, 3))], -1)
    return sigmoid(np.einsum("tij,tbj->tbi", weight, pooled))


def features(stage: TdssStage, tap: StageTap) -> Array:
    """F_t = G + D_t + γ_t ⊙ W_c [G ; mean_t D_t] of the answered tasks, ``[tasks, batch, height, width, dim]``."""
    every, generic = adapted(stage, tap), array(tap.output)
    own = every[list(stage.answers)]
    if stage.tsai is None:
        return np.asarray(generic + own)
    bridge = affine(np.concatenate([generic, every.mean(0)], -1), stage.tsai.bridge)
    return np.asarray(generic + own + gammas(stage, generic, own)[:, :, None, None] * bridge)


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
