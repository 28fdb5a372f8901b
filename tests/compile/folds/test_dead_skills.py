"""Skills that add nothing leave: Δ_t = α Σ_e g_t,e B_e σ(A_e n) over those that can, with NumPy over all of them."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compile.folds.base import Step
from compile.folds.cost import trace_cost
from compile.folds.dead_skills import BIASED, FoldDeadSkills
from compile.folds.freeze_gate import DropSkills
from compile.folds.gates import ConstantGate, DeadBank, PickedGate
from compile.folds.layer_norm import FoldLayerNorm
from compile.module_folds import EXACT_RELATIVE, rewrite
from tdss.adapters.tdss import SkillBank
from tdss.config import ModelConfig, TdssConfig
from tests.compile.folds.applied import (
    change,
    few,
    fold_all,
    fold_exactly,
    fold_with,
    reasons,
    refuses,
    untouched,
    zero,
)
from tests.compile.folds.models import configs, make_config, make_image, make_model, outputs, relative
from tests.compile.folds.oracle import TIGHT, array, deltas, draw, far

RULE = FoldDeadSkills()
BASE = TdssConfig(experts=4, rank=2, gates=(("static", "dynamic"), ("dynamic",)))
STATIC, DYNAMIC = "adapter.stages.0.blocks.0.banks.mlp", "adapter.stages.0.blocks.1.banks.mlp"


@pytest.mark.parametrize("bank", [STATIC, DYNAMIC])
@pytest.mark.parametrize("dead", ["down.weight:2-4", "up.weight"])
def test_a_skill_without_weights_leaves_its_bank(bank: str, dead: str) -> None:
    model = make_model(make_config(BASE))
    if dead == "up.weight":
        with torch.no_grad():
            model.get_parameter(f"{bank}.up.weight")[:, 2:4] = 0
    else:
        zero(model, f"{bank}.{dead}")
    original, n = deepcopy(model.get_submodule(bank)), draw(2, 4, 4, 8)
    assert isinstance(original, SkillBank)
    assert reasons(RULE, model, "folded") == {bank: "1 of 4 skills have zero weights, or a zero gate in every task"}
    [step] = fold_exactly(RULE, model)
    assert (step.module, step.keep) == (bank, (0, 2, 3))
    folded = model.get_submodule(bank)
    assert isinstance(folded, SkillBank) and folded.down.weight.shape == (6, 8) and folded.up.weight.shape == (8, 6)
    assert far(deltas(original, array(n)), torch.stack(folded(n))) < TIGHT


def test_a_dead_skill_of_a_dynamic_bank_pays() -> None:
    """The gate is computed once, however many skills are kept of it."""
    model = make_model(make_config(BASE))
    zero(model, f"{DYNAMIC}.down.weight:2-4")
    before = trace_cost(model, make_image(model.config).shape)
    _, [line] = rewrite(model, make_image(model.config).shape, mode="all", rules=(RULE,))
    assert (line.module, line.decision) == (DYNAMIC, "folded")
    fold_with(RULE, model)
    gate = [f"{DYNAMIC}.gate.gate.logits"]
    after = trace_cost(model, make_image(model.config).shape)
    assert after.of(model, gate).macs == before.of(make_model(model.config), [f"{DYNAMIC}.gate.logits"]).macs > 0


def test_a_bank_without_live_skills_leaves_altogether() -> None:
    model = make_model(make_config(BASE))
    zero(model, f"{DYNAMIC}.up.weight")
    [step] = fold_exactly(RULE, model)
    assert step.keep == () and isinstance(model.get_submodule(DYNAMIC), DeadBank)
    fold_all(model)
    assert "1_mlp" not in model.adapter.get_submodule("stages.0").sources  # type: ignore[operator]


def test_a_static_gate_of_zero_for_every_task_is_dead() -> None:
    model = make_model(make_config(BASE.model_copy(update={"top_k": 1}), tasks=("semseg", "depth")))
    [step] = fold_exactly(RULE, model)  # only the static bank: two tasks use at most two of four skills
    bank = model.get_submodule(step.module)
    assert step.module == STATIC and len(step.keep) <= 2
    assert isinstance(bank, SkillBank) and isinstance(bank.gate, ConstantGate)


def test_the_softmax_of_a_dynamic_gate_still_sees_every_skill() -> None:
    model = make_model(make_config(BASE))
    zero(model, f"{DYNAMIC}.down.weight:0-2")
    fold_exactly(RULE, model)
    bank = model.get_submodule(DYNAMIC)
    assert isinstance(bank, SkillBank) and isinstance(bank.gate, PickedGate)
    gate = bank.gate(draw(2, 4, 4, 8))
    assert gate.shape == (2, 6, 3) and bool((gate.sum(-1) < 1).all())


def test_a_bank_that_lost_skills_already_can_lose_more() -> None:
    """``--freeze-gates`` dropped a light skill, and another one's weights are zero."""
    model = make_model(make_config(BASE))
    DropSkills().apply(model, Step(rule="drop_skills", module=DYNAMIC, keep=(0, 1, 3)))
    zero(model, f"{DYNAMIC}.down.weight:0-2")
    [step] = fold_exactly(RULE, model)
    bank = model.get_submodule(DYNAMIC)
    assert step.keep == (1, 2) and isinstance(bank, SkillBank) and isinstance(bank.gate, PickedGate)
    assert bank.gate.kept == (1, 3)


@few(25)
@given(
    st.builds(
        TdssConfig,
        experts=st.integers(1, 5),
        rank=st.integers(1, 3),
        gates=st.just((("static",),)),
        activation=st.sampled_from(["none", "relu", "gelu"]),
        top_k=st.integers(0, 2),
        alpha=st.floats(0.25, 4),
    ),
    st.sampled_from(["static", "dynamic"]),
    st.lists(st.integers(0, 4), max_size=5, unique=True),
)
def test_any_bank_is_that_of_the_equation(config: TdssConfig, gate: str, dead: list[int]) -> None:
    bank = SkillBank(config, 6, 2, gate).double()  # type: ignore[arg-type]
    for place, parameter in enumerate(bank.parameters()):
        parameter.data = draw(*parameter.shape, seed=place)
    for skill in dead:
        rows = slice(skill * config.rank, (skill + 1) * config.rank)
        if skill % 2:
            bank.down.weight.data[rows] = 0
        else:
            bank.up.weight.data[:, rows] = 0
    n = draw(2, 3, 2, 6, seed=9)
    model, want = nn.ModuleDict({"bank": bank}), deltas(bank, array(n))
    fold_with(RULE, model)
    assert far(want, torch.stack(model["bank"](n))) < TIGHT
    assert list(RULE.candidates(model)) == []  # type: ignore[arg-type]


@few(8)
@given(configs, st.integers(0, 30))
def test_any_model_answers_the_same(config: ModelConfig, dead: int) -> None:
    model = make_model(config)
    for bank in (module for module in model.modules() if isinstance(module, SkillBank)):
        first = dead % bank.down.out_features // bank.rank * bank.rank
        zero(bank, f"down.weight:{first}-{first + bank.rank}")
    assert reasons(RULE, model, "folded")
    assert change(RULE, model) < EXACT_RELATIVE


def test_dead_skills_leave_before_every_other_fold() -> None:
    model = make_model(make_config(BASE))
    zero(model, f"{DYNAMIC}.down.weight:2-4", f"{STATIC}.up.weight")
    image = make_image(model.config)
    before = outputs(model, image)
    fold_all(model)
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE


def test_a_live_skill_stays_however_small() -> None:
    model = make_model(make_config(BASE))
    with torch.no_grad():
        model.get_parameter(f"{DYNAMIC}.up.weight").mul_(1e-30)
    assert list(RULE.candidates(model)) == []


def test_a_bank_whose_projection_has_a_bias_is_kept() -> None:
    model = make_model(make_config(BASE.model_copy(update={"experts": 2})))
    zero(model, f"{DYNAMIC}.down.weight:0-2")
    fold_with(FoldLayerNorm(), model)
    assert reasons(RULE, model, "kept")[DYNAMIC] == BIASED and reasons(RULE, model, "folded") == {}
    step = Step(rule=RULE.name, module=DYNAMIC, keep=(1,))
    with untouched(model), pytest.raises(TypeError, match="leave before norms are folded"):
        RULE.apply(model, step)


@pytest.mark.parametrize("module", ["backbone.stages.0.blocks.0.mlp", f"{DYNAMIC}.gate"])
def test_another_module_is_refused(module: str) -> None:
    refuses(RULE, make_model(make_config(BASE)), module, "is no SkillBank")
