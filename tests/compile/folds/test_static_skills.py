"""What leaves because of its weights: dead skills, gates that are constants, linear skills, stochastic depth."""

import pytest
import torch

from compile.folding import EXACT_RELATIVE
from compile.folds.base import Fold, Step
from compile.folds.composed import DynamicSource, StaticSource
from compile.folds.gamma import BRIDGE, BUILT, GammaStage, gamma_form
from compile.folds.gates import ConstantGate, DeadBank, PickedGate
from compile.folds.linear_skills import LinearSource
from compile.folds.table import FOLDS
from tdss.adapters.tdss import SkillBank, Tsai
from tdss.config import TdssConfig
from tdss.model import MultiTaskModel
from tests.compile.folds.models import make_config, make_image, make_model, outputs, relative
from tests.compile.folds.test_folds import fold_all

BASE = TdssConfig(experts=4, rank=2, gates=(("static", "dynamic"), ("dynamic",)))
DYNAMIC = "adapter.stages.0.blocks.1.banks.mlp"


def rule(name: str) -> Fold:
    return next(fold for fold in FOLDS if fold.name == name)


def apply(model: MultiTaskModel, name: str) -> list[Step]:
    fold = rule(name)
    steps = [
        Step(rule=name, module=line.module, keep=line.keep, form=line.form)
        for line in fold.candidates(model)
        if line.decision == "folded"
    ]
    for step in steps:
        fold.apply(model, step)
    return steps


def exact(config_of: TdssConfig, spoil: str, name: str) -> tuple[MultiTaskModel, list[Step]]:
    """Zero what ``spoil`` names, apply one rule, then all of them; both are exact."""
    config = make_config(config_of)
    model, image = make_model(config), make_image(config)
    with torch.no_grad():
        for path in filter(None, spoil.split()):
            place, _, rows = path.partition(":")
            tensor = model.get_parameter(place)
            tensor[slice(*map(int, rows.split("-"))) if rows else slice(None)] = 0
    before = outputs(model, image)
    steps = apply(model, name)
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE
    fold_all(model)
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE
    return model, steps


def test_a_skill_without_weights_leaves_its_bank() -> None:
    _, [step] = exact(BASE, f"{DYNAMIC}.down.weight:2-4", "dead_skills")
    assert (step.module, step.keep) == (DYNAMIC, (0, 2, 3))


def test_a_bank_without_live_skills_leaves_altogether() -> None:
    model, [step] = exact(BASE, f"{DYNAMIC}.up.weight", "dead_skills")
    assert step.keep == ()
    assert "1_mlp" not in model.adapter.get_submodule("stages.0").sources  # type: ignore[operator]


def test_a_static_gate_of_zero_for_every_task_is_dead() -> None:
    config = make_config(BASE.model_copy(update={"top_k": 1}), tasks=("semseg", "depth"))
    model, image = make_model(config), make_image(config)
    before = outputs(model, image)
    [step] = apply(model, "dead_skills")  # only the static bank: two tasks use at most two of four skills
    assert step.module == "adapter.stages.0.blocks.0.banks.mlp" and len(step.keep) <= 2
    bank = model.get_submodule(step.module)
    assert isinstance(bank, SkillBank) and isinstance(bank.gate, ConstantGate)
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE


def test_a_live_skill_stays_however_small() -> None:
    model = make_model(make_config(BASE))
    with torch.no_grad():
        model.get_parameter(f"{DYNAMIC}.up.weight").mul_(1e-30)
    assert apply(model, "dead_skills") == []


def test_the_softmax_of_a_dynamic_gate_still_sees_every_skill() -> None:
    model = make_model(make_config(BASE))
    with torch.no_grad():
        model.get_parameter(f"{DYNAMIC}.down.weight")[:2] = 0
    apply(model, "dead_skills")
    bank = model.get_submodule(DYNAMIC)
    assert isinstance(bank, SkillBank) and isinstance(bank.gate, PickedGate)
    gate = bank.gate(torch.randn(2, 4, 4, 8, dtype=torch.float64))
    assert gate.shape == (2, 6, 3) and bool((gate.sum(-1) < 1).all())


@pytest.mark.parametrize("spoil", [f"{DYNAMIC}.gate.logits.weight", "backbone.stages.0.blocks.1.norm2.weight"])
def test_a_gate_that_cannot_see_the_image_is_a_constant(spoil: str) -> None:
    model, steps = exact(BASE, spoil, "static_value")
    assert [step.module for step in steps] == [f"{DYNAMIC}.gate"]
    assert isinstance(model.adapter.get_submodule("stages.0").sources["1_mlp"], StaticSource)  # type: ignore[index]


def test_a_gamma_without_weights_is_one_half() -> None:
    config = BASE.model_copy(update={"tsai": "dynamic"})
    model, steps = exact(config, "adapter.stages.0.tsai.gate.weight", "static_value")
    assert [step.module for step in steps] == ["adapter.stages.0.tsai"]
    assert not isinstance(model.adapter.get_submodule("stages.0"), GammaStage)
    assert isinstance(model.adapter.get_submodule("stages.1"), GammaStage)


def test_gates_that_see_the_image_are_left_alone() -> None:
    assert apply(make_model(make_config(BASE.model_copy(update={"tsai": "dynamic"}))), "static_value") == []


@pytest.mark.parametrize("form", [BUILT, BRIDGE])
def test_both_forms_of_a_dynamic_gamma_are_exact(form: str) -> None:
    config = make_config(BASE.model_copy(update={"tsai": "dynamic", "insertion": "both"}))
    model, image = make_model(config), make_image(config)
    before = outputs(model, image)
    for stage in (0, 1):
        rule("compose").apply(model, Step(rule="compose", module=f"adapter.stages.{stage}", form=form))
        assert isinstance(model.adapter.get_submodule(f"stages.{stage}"), GammaStage)
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE


@pytest.mark.parametrize("tsai", ["off", "static"])
@pytest.mark.parametrize("form", ["matrix", "units"])
def test_both_forms_of_a_dynamic_gate_are_exact(tsai: str, form: str) -> None:
    config = make_config(BASE.model_copy(update={"tsai": tsai}))
    model, image = make_model(config), make_image(config)
    before = outputs(model, image)
    rule("compose").apply(model, Step(rule="compose", module="adapter.stages.1", form=form))
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE


def test_few_pixels_choose_the_bridge_and_many_the_matrices() -> None:
    assert gamma_form(rows=864, dim=384, units=256, pixels=49) == BRIDGE
    assert gamma_form(rows=108, dim=48, units=256, pixels=784) == BUILT


def test_linear_skills_are_one_matrix_where_that_is_smaller() -> None:
    config = make_config(BASE.model_copy(update={"activation": "none", "experts": 8}), tasks=("depth",))
    model, image = make_model(config), make_image(config)
    before = outputs(model, image)
    fold_all(model)
    sources = dict(model.adapter.get_submodule("stages.0").sources.items())  # type: ignore[operator,union-attr]
    assert isinstance(sources["0_mlp"], LinearSource) and isinstance(sources["1_mlp"], DynamicSource)
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE
    lines = {line.module: line for line in rule("linear_skills").candidates(model)}
    assert lines["adapter.stages.0.sources.1_mlp"].reason == "the gate depends on the image"


def test_skills_with_an_activation_are_never_multiplied_out() -> None:
    model = make_model(make_config(BASE))
    fold_all(model)
    assert list(rule("linear_skills").candidates(model)) == []


def test_stochastic_depth_leaves() -> None:
    config = make_config(BASE)
    backbone = config.backbone.model_copy(update={"drop_path": 0.2})
    model = MultiTaskModel(config.model_copy(update={"backbone": backbone})).double().eval()
    image = make_image(config)
    before = outputs(model, image)
    steps = apply(model, "training_only")
    assert [step.module for step in steps] == [
        "backbone.stages.0.blocks.1.drop_path",
        "backbone.stages.1.blocks.0.drop_path",
    ]
    assert relative(before, outputs(model, image)) == 0.0
    assert apply(model, "training_only") == []


def test_a_dead_bank_adds_nothing() -> None:
    deltas = DeadBank(3)(torch.ones(1, 2, 2, 4))
    assert len(deltas) == 3 and not any(bool(delta.any()) for delta in deltas)
    assert isinstance(make_model(make_config(BASE)).get_submodule("adapter.stages.0.tsai"), Tsai)
