"""The TDSS adapter against its equations, written a second time in NumPy float64."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tdss.adapters.tdss import DynamicGate, SkillBank, Tdss, normalise_gate
from tdss.backbones.base import BlockTap, StageTap
from tdss.config import TdssConfig

Array = NDArray[np.float64]
TASKS, DIM = ("a", "b", "c"), 6
BASE = TdssConfig(experts=4, rank=2, gates=(("static", "dynamic"),), alpha=1.5, temperature=0.7)
VARIANTS = {
    "base": BASE,
    "relu, top 2": BASE.model_copy(update={"activation": "relu", "top_k": 2}),
    "linear, no TSAI": BASE.model_copy(update={"activation": "none", "tsai": "off"}),
    "dynamic TSAI, both sites": BASE.model_copy(update={"tsai": "dynamic", "insertion": "both"}),
    "attention": BASE.model_copy(update={"insertion": "attention"}),
}


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def gate_oracle(logits: Array, config: TdssConfig) -> Array:
    scaled = logits / config.temperature
    if 0 < config.top_k < scaled.shape[-1]:
        order = np.argsort(-scaled, -1)[..., config.top_k :]
        np.put_along_axis(scaled, order, -np.inf, -1)
    return softmax(scaled)


def sigma(x: Array, kind: str) -> Array:
    if kind == "relu":
        return np.maximum(x, 0)
    if kind == "gelu":
        return np.asarray(torch.nn.functional.gelu(torch.from_numpy(x)).numpy())
    return x


def numpy(tensor: torch.Tensor) -> Array:
    return tensor.detach().numpy()


def bank_oracle(bank: SkillBank, n: Array, config: TdssConfig, task: int) -> Array:
    """Δ_t = α Σ_e g_t,e B_e σ(A_e n), expert by expert."""
    if isinstance(bank.gate, DynamicGate):
        logits = n.mean((1, 2)) @ numpy(bank.gate.logits.weight).T + numpy(bank.gate.logits.bias)
        gate = gate_oracle(logits.reshape(-1, len(TASKS), config.experts), config)
    else:
        gate = gate_oracle(numpy(bank.gate.get_parameter("logits"))[None].repeat(len(n), 0), config)
    total = np.zeros_like(n)
    for expert in range(config.experts):
        rows = slice(expert * config.rank, (expert + 1) * config.rank)
        skill = sigma(n @ numpy(bank.down.weight)[rows].T, config.activation) @ numpy(bank.up.weight)[:, rows].T
        total += gate[:, task, expert, None, None, None] * skill
    return config.alpha * total


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_its_equations(variant: str) -> None:
    config = VARIANTS[variant]
    torch.manual_seed(0)
    adapter = Tdss(config, TASKS, [DIM]).double()
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter)
    maps = [torch.randn(2, 3, 5, DIM, dtype=torch.float64) for _ in range(5)]
    tap = StageTap((BlockTap(maps[0], maps[1]), BlockTap(maps[2], maps[3])), maps[4])
    (features,) = adapter([tap])
    stage = adapter.stages[0]
    generic = numpy(maps[4])
    adapted = []
    for task in range(len(TASKS)):
        total = np.zeros_like(generic)
        for block, block_tap in zip(stage.blocks, tap.blocks, strict=True):
            for site, bank in block.banks.items():
                total += bank_oracle(bank, numpy(getattr(block_tap, site)), config, task)
        adapted.append(total)
    for task, name in enumerate(TASKS):
        want = generic + adapted[task]
        if stage.tsai is not None:
            bridge = np.concatenate([generic, np.mean(adapted, 0)], -1) @ numpy(stage.tsai.bridge.weight).T
            if stage.tsai.weight is not None:
                logits = numpy(stage.tsai.weight)[task]
            else:
                rows = numpy(stage.tsai.gate.weight)[task * DIM : (task + 1) * DIM]
                pooled = np.concatenate([generic.mean((1, 2)), adapted[task].mean((1, 2))], -1)
                logits = (pooled @ rows.T)[:, None, None]
            want = want + bridge / (1 + np.exp(-logits))
        assert np.abs(numpy(features[name]) - want).max() < 1e-11 * np.abs(want).max()


def test_starts_as_the_generic_features_but_for_the_bridge() -> None:
    adapter = Tdss(BASE.model_copy(update={"tsai": "off"}), TASKS, [DIM])
    maps = [torch.randn(1, 2, 2, DIM) for _ in range(5)]
    (features,) = adapter([StageTap((BlockTap(*maps[:2]), BlockTap(*maps[2:4])), maps[4])])
    assert all(torch.equal(features[name], maps[4]) for name in TASKS)  # B starts at 0


def test_top_k_keeps_k_skills_that_sum_to_one() -> None:
    gate = normalise_gate(torch.randn(5, 8), temperature=1.0, top_k=3)
    assert ((gate > 0).sum(-1) == 3).all()
    assert torch.allclose(gate.sum(-1), torch.ones(5))


def test_parameter_count_per_block_is_that_of_the_formula() -> None:
    config, dim, tasks = BASE, 10, 3
    static = SkillBank(config, dim, tasks, "static")
    dynamic = SkillBank(config, dim, tasks, "dynamic")
    skills = 2 * dim * config.experts * config.rank
    assert sum(p.numel() for p in static.parameters()) == skills + tasks * config.experts
    assert sum(p.numel() for p in dynamic.parameters()) == skills + tasks * config.experts * (dim + 1)
