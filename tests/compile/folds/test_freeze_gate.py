"""The approximate rewrites: a gate or γ that is a constant, skills that leave whatever they add; with NumPy."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compile.folds.base import Step
from compile.folds.cost import trace_cost
from compile.folds.freeze_gate import DropSkills, FreezeGate, freeze
from compile.folds.gates import ConstantGate, DeadBank
from compile.folds.table import APPROXIMATE, FOLDS
from compile.module_folds import EXACT_RELATIVE
from tdss.adapters.tdss import DynamicGate, SkillBank, TdssStage, Tsai
from tdss.config import ModelConfig, TdssConfig
from tests.compile.folds import oracle
from tests.compile.folds.applied import few, fold_all, refuses, zero
from tests.compile.folds.models import TASKS, configs, make_config, make_image, make_model, outputs, relative
from tests.compile.folds.oracle import TIGHT, array, deltas, draw, far, make_tap, sigmoid, softmax

FREEZE, DROP = FreezeGate(), DropSkills()
BASE = TdssConfig(experts=4, rank=2, gates=(("static", "dynamic"), ("dynamic",)), tsai="dynamic")
BANK, TSAI = "adapter.stages.0.blocks.1.banks.mlp", "adapter.stages.0.tsai"
MEAN = softmax(array(draw(len(TASKS), 4)))


def test_a_frozen_gate_mixes_the_skills_by_the_constant() -> None:
    model = make_model(make_config(BASE))
    original, n = deepcopy(model.get_submodule(BANK)), draw(2, 4, 4, 8)
    cost = trace_cost(model, (1, 3, 32, 32)).total
    assert isinstance(original, SkillBank)
    freeze(model, f"{BANK}.gate", torch.from_numpy(MEAN))
    after = trace_cost(model, (1, 3, 32, 32)).total
    assert after.macs < cost.macs and after.moved < cost.moved and after.params < cost.params
    got = torch.stack(model.get_submodule(BANK)(n))
    assert far(deltas(original, array(n), MEAN[None]), got) < TIGHT
    assert far(deltas(original, array(n)), got) > 0.01  # an approximation


def test_a_frozen_gamma_is_the_constant() -> None:
    model = make_model(make_config(BASE))
    stage = model.get_submodule("adapter.stages.0")
    assert isinstance(stage, TdssStage)
    tap, mean = make_tap(model, 0), sigmoid(array(draw(len(TASKS), 8)))
    cost = trace_cost(model, (1, 3, 32, 32)).total
    assert stage.tsai is not None
    every, generic = oracle.adapted(stage, tap), array(tap.output)
    bridge = oracle.affine(np.concatenate([generic, every.mean(0)], -1), stage.tsai.bridge)
    freeze(model, TSAI, torch.from_numpy(mean))
    want = generic + every + mean[:, None, None, None] * bridge
    assert far(want, torch.stack(list(stage(tap).values()))) < TIGHT
    assert trace_cost(model, (1, 3, 32, 32)).total.macs < cost.macs


def test_a_step_leaves_the_shapes_that_loading_expects() -> None:
    model, loaded = make_model(make_config(BASE)), make_model(make_config(BASE), seed=7)
    freeze(model, f"{BANK}.gate", torch.from_numpy(MEAN))
    freeze(model, TSAI, torch.full((6, 8), 0.25, dtype=torch.float64))
    for module in (f"{BANK}.gate", TSAI):
        FREEZE.apply(loaded, Step(rule=FREEZE.name, module=module))
    gate = loaded.get_submodule(f"{BANK}.gate")
    assert isinstance(gate, ConstantGate) and not gate.values.any()
    assert torch.equal(loaded.get_parameter(f"{TSAI}.weight"), torch.zeros(6, 8, dtype=torch.float64))  # γ = ½
    loaded.load_state_dict(model.state_dict())
    image = make_image(model.config)
    assert relative(outputs(model, image), outputs(loaded, image)) == 0.0


@few(10)
@given(configs)
def test_frozen_to_what_it_answers_for_an_image_a_model_answers_the_same_for_it(config: ModelConfig) -> None:
    dynamic = config.adapter.model_copy(update={"tsai": "dynamic"})
    model = make_model(config.model_copy(update={"adapter": dynamic}))
    image = make_image(config)[:1]
    before, values = outputs(model, image), answers(model, image)
    for path, value in values.items():
        freeze(model, path, value)
    assert not [part for part in model.modules() if isinstance(part, DynamicGate)]
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE
    fold_all(model)
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE


def answers(model: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """What every dynamic gate and γ is for one image."""
    seen: dict[str, torch.Tensor] = {}
    handles = []
    for path, part in model.named_modules():
        if isinstance(part, DynamicGate):
            handles.append(
                part.register_forward_hook(lambda m, i, out, path=path: seen.update({path: out[0].detach()}))
            )
        elif isinstance(part, Tsai):
            handles.append(
                part.register_forward_hook(
                    lambda m, i, out, path=path: seen.update({path: torch.cat([g.flatten(1) for g in m.gamma(*i[:2])])})
                )
            )
    outputs(model, image)  # type: ignore[arg-type]
    for handle in handles:
        handle.remove()
    return {path: value.detach() for path, value in seen.items()}


@few(20)
@given(st.sampled_from(["static", "dynamic"]), st.integers(1, 5), st.integers(1, 3), st.data())
def test_what_is_left_after_a_drop_keeps_its_weight(kind: str, experts: int, rank: int, data: st.DataObject) -> None:
    kept = tuple(data.draw(st.lists(st.integers(0, experts - 1), unique=True).map(sorted)))
    config = BASE.model_copy(update={"experts": experts, "rank": rank})
    bank = SkillBank(config, 6, 2, kind).double()  # type: ignore[arg-type]
    for place, parameter in enumerate(bank.parameters()):
        parameter.data = draw(*parameter.shape, seed=place)
    n, original = draw(2, 3, 2, 6, seed=9), deepcopy(bank)
    model = torch.nn.ModuleDict({"bank": bank})
    DROP.apply(model, Step(rule=DROP.name, module="bank", keep=kept))  # type: ignore[arg-type]
    assert isinstance(model["bank"], SkillBank if kept else DeadBank)
    assert far(deltas(original, array(n), kept=kept), torch.stack(model["bank"](n))) < TIGHT


def test_skills_that_add_nothing_are_dropped_exactly_and_cost_less() -> None:
    model = make_model(make_config(BASE))
    zero(model, f"{BANK}.down.weight:0-2")
    image = make_image(model.config)
    before, cost = outputs(model, image), trace_cost(model, image.shape).total
    DROP.apply(model, Step(rule=DROP.name, module=BANK, keep=(1, 2, 3)))
    after = trace_cost(model, image.shape).total
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE
    assert after.macs < cost.macs and after.moved < cost.moved and after.params < cost.params


@pytest.mark.parametrize("first", ["freeze", "drop"])
def test_a_gate_is_frozen_before_and_after_skills_were_dropped(first: str) -> None:
    model, kept = make_model(make_config(BASE)), (0, 3)
    original, n = deepcopy(model.get_submodule(BANK)), draw(2, 4, 4, 8)
    assert isinstance(original, SkillBank)
    moves = [
        lambda: freeze(model, f"{BANK}.gate", torch.from_numpy(MEAN)),
        lambda: DROP.apply(model, Step(rule=DROP.name, module=BANK, keep=kept)),
    ]
    for move in moves if first == "freeze" else reversed(moves):
        move()
    got = torch.stack(model.get_submodule(BANK)(n))
    assert far(deltas(original, array(n), MEAN[None], kept), got) < TIGHT
    fresh = make_model(make_config(BASE))
    steps = [
        (FREEZE, Step(rule=FREEZE.name, module=f"{BANK}.gate")),
        (DROP, Step(rule=DROP.name, module=BANK, keep=kept)),
    ]
    for rule, step in steps if first == "freeze" else reversed(steps):
        rule.apply(fresh, step)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in fresh.state_dict().items()} == shapes


@pytest.mark.parametrize(
    "module", ["adapter.stages.0.blocks.0.banks.mlp.gate", BANK, "backbone.stages.0.blocks.0.mlp", f"{TSAI}.bridge"]
)
def test_what_is_no_gate_that_depends_on_the_image_is_refused(module: str) -> None:
    refuses(FREEZE, make_model(make_config(BASE)), module, f"{module} is no gate that depends on the image")


def test_a_gate_is_frozen_once() -> None:
    model = make_model(make_config(BASE))
    for module in (f"{BANK}.gate", TSAI):
        FREEZE.apply(model, Step(rule=FREEZE.name, module=module))
        refuses(FREEZE, model, module, "is no gate that depends on the image")


def test_only_banks_lose_skills() -> None:
    refuses(DROP, make_model(make_config(BASE)), f"{BANK}.gate", "is no SkillBank")


def test_neither_finds_a_site_by_itself() -> None:
    """They are opt-in: the table of exact folds does not hold them, and gates' means are measured elsewhere."""
    assert [rule.name for rule in APPROXIMATE] == [FREEZE.name, DROP.name]
    assert not {rule.name for rule in APPROXIMATE} & {rule.name for rule in FOLDS}
    assert not hasattr(FREEZE, "candidates")
