"""The adapters' equations in NumPy float64, written from their algebra: what a module's answer is compared with, folded or not.

Nothing here calls a module: weights are read from it, and everything else is NumPy.
"""

import math

import numpy as np
from torch import Tensor, nn

from tdss.adapters.tdss import DynamicGate, SkillBank, StaticGate, TdssBlock, TdssStage
from tdss.backbones.base import StageTap

Array = np.ndarray


def array(x: Tensor) -> Array:
    """Copy a tensor: folds write in place."""
    return x.detach().numpy().copy()


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


def softmax(logits: Array) -> Array:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    result: Array = powers / powers.sum(-1, keepdims=True)
    return result


def sigmoid(x: Array) -> Array:
    """1/(1 + e^−x)."""
    result: Array = 1 / (1 + np.exp(-x))
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
