"""The TDSS adapter against its equations, written a second time in NumPy float64."""

import pytest
import torch
from torch import nn

from tdss.adapters.config import TdssConfig
from tdss.adapters.tdss import SkillBank, TdssStage, normalise_gate
from tdss.backbones.base import BlockTap, StageTap
from tests.tdss.oracle import far, features

TASKS, DIM = ("a", "b", "c"), 6
ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "none": nn.Identity}
BASE = TdssConfig(experts=4, rank=2, gates=(("static", "dynamic"),), alpha=1.5, temperature=0.7)
VARIANTS = {
    "base": BASE,
    "relu, top 2": BASE.model_copy(update={"activation": "relu", "top_k": 2}),
    "linear, no TSAI": BASE.model_copy(update={"activation": "none", "tsai": "off"}),
    "dynamic TSAI, both sites": BASE.model_copy(update={"tsai": "dynamic", "insertion": "both"}),
    "attention": BASE.model_copy(update={"insertion": "attention"}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_its_equations(variant: str) -> None:
    config = VARIANTS[variant]
    torch.manual_seed(0)
    adapter = TdssStage(config, DIM, TASKS, config.gates[0]).double()
    for parameter in adapter.parameters():
        nn.init.normal_(parameter)
    banks = [module for module in adapter.modules() if isinstance(module, SkillBank)]
    told = (config.alpha, config.rank, ACTIVATIONS[config.activation])  # the oracle reads these of the module
    assert {(bank.alpha, bank.rank, type(bank.activation)) for bank in banks} == {told}
    maps = [torch.randn(2, 3, 5, DIM, dtype=torch.float64) for _ in range(5)]
    tap = StageTap((BlockTap(maps[0], maps[1]), BlockTap(maps[2], maps[3])), maps[4])
    got = adapter(tap)
    for name, want in zip(TASKS, features(adapter, tap), strict=True):
        assert far(want, got[name]) < 1e-11


def test_starts_as_the_generic_features_but_for_the_bridge() -> None:
    adapter = TdssStage(BASE.model_copy(update={"tsai": "off"}), DIM, TASKS, BASE.gates[0])
    maps = [torch.randn(1, 2, 2, DIM) for _ in range(5)]
    got = adapter(StageTap((BlockTap(*maps[:2]), BlockTap(*maps[2:4])), maps[4]))
    assert all(torch.equal(got[name], maps[4]) for name in TASKS)  # B starts at 0


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
