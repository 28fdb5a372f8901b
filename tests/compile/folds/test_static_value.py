"""A gate that cannot see the image is the constant of the equation: softmax((z_t + V_t β)/τ), sigmoid(0), with NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compile.folds.base import Step
from compile.folds.composed import StaticSource
from compile.folds.freeze_gate import DropSkills
from compile.folds.gamma import GammaStage
from compile.folds.gates import ConstantGate, constant_of, is_static
from compile.folds.static_value import FoldStaticValue, dead_reason
from compile.module_folds import EXACT_RELATIVE
from tdss.adapters.tdss import DynamicGate, SkillBank, Tsai
from tdss.config import ModelConfig, TdssConfig
from tests.compile.folds.applied import change, few, fold_all, fold_exactly, reasons, refuses, zero
from tests.compile.folds.models import TASKS, configs, make_config, make_image, make_model, outputs, relative
from tests.compile.folds.oracle import TIGHT, array, far, gate_values, sigmoid, softmax

RULE = FoldStaticValue()
BASE = TdssConfig(experts=4, rank=2, gates=(("static", "dynamic"), ("dynamic",)), temperature=0.7, tsai="dynamic")
BANK = "adapter.stages.0.blocks.1.banks.mlp"
NORM = "backbone.stages.0.blocks.1.norm2"
V_ZERO = "its weights V are zero"
DEAD = "its input path is dead: the norm before it has zero weights"


@pytest.mark.parametrize(
    ("spoil", "reason"), [(f"{BANK}.gate.logits.weight", V_ZERO), (f"{NORM}.weight", DEAD)], ids=["weights", "norm"]
)
def test_a_gate_that_cannot_see_the_image_is_a_constant(spoil: str, reason: str) -> None:
    model = make_model(make_config(BASE))
    zero(model, spoil)
    logits, beta = model.get_submodule(f"{BANK}.gate.logits"), array(model.get_parameter(f"{NORM}.bias"))
    weight, bias = array(logits.weight), array(logits.bias)  # type: ignore[arg-type]
    want = softmax((bias + weight @ beta).reshape(len(TASKS), 4) / 0.7)
    assert reasons(RULE, model, "folded") == {f"{BANK}.gate": reason}
    [step] = fold_exactly(RULE, model)
    gate = model.get_submodule(step.module)
    assert isinstance(gate, ConstantGate) and far(want, gate.values) < TIGHT


def test_the_composition_sees_a_static_gate() -> None:
    model = make_model(make_config(BASE.model_copy(update={"tsai": "static"})))
    zero(model, f"{BANK}.gate.logits.weight")
    image = make_image(model.config)
    before = outputs(model, image)
    fold_all(model)
    assert isinstance(model.get_submodule("adapter.stages.0.sources.1_mlp"), StaticSource)
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE


def test_a_gamma_without_weights_is_one_half() -> None:
    model = make_model(make_config(BASE))
    zero(model, "adapter.stages.0.tsai.gate.weight")
    assert reasons(RULE, model, "folded") == {"adapter.stages.0.tsai": "its weights are zero"}
    fold_exactly(RULE, model)
    tsai = model.get_submodule("adapter.stages.0.tsai")
    assert isinstance(tsai, Tsai) and tsai.gate is None and tsai.weight is not None
    assert np.array_equal(sigmoid(array(tsai.weight)), np.full((len(TASKS), 8), 0.5))
    fold_all(model)
    assert not isinstance(model.adapter.get_submodule("stages.0"), GammaStage)
    assert isinstance(model.adapter.get_submodule("stages.1"), GammaStage)


def test_a_gate_that_lost_skills_becomes_a_constant_too() -> None:
    model = make_model(make_config(BASE))
    zero(model, f"{BANK}.gate.logits.weight")
    inner = model.get_submodule(f"{BANK}.gate")
    want = gate_values(inner, np.zeros((1, 1, 1, 8)))[0][:, [0, 2, 3]]
    DropSkills().apply(model, Step(rule="drop_skills", module=BANK, keep=(0, 2, 3)))
    fold_exactly(RULE, model)
    bank = model.get_submodule(BANK)
    assert isinstance(bank, SkillBank) and is_static(bank.gate) and far(want, constant_of(bank.gate)) < TIGHT


@few(12)
@given(configs, st.sampled_from(["weights", "norm"]))
def test_any_model_answers_the_same(config: ModelConfig, spoil: str) -> None:
    model = make_model(config)
    for path, module in model.named_modules():
        if isinstance(module, DynamicGate) and spoil == "weights":
            zero(module, "logits.weight")
        elif path.endswith((".norm1", ".norm2")) and spoil == "norm":
            zero(module, "weight")
        elif isinstance(module, Tsai) and module.gate is not None:
            zero(module, "gate.weight")
    assert change(RULE, model) < EXACT_RELATIVE
    assert not [module for module in model.modules() if isinstance(module, DynamicGate)]


def test_gates_that_see_the_image_are_left_alone() -> None:
    model = make_model(make_config(BASE))
    assert list(RULE.candidates(model)) == []
    with torch.no_grad():
        model.get_parameter(f"{BANK}.gate.logits.weight").mul_(1e-30)  # however little
    assert list(RULE.candidates(model)) == []
    zero(model, f"{BANK}.gate.logits.weight:0-23")  # one row of 24 still sees it
    assert list(RULE.candidates(model)) == []


def test_the_weights_of_every_kind_of_module_are_judged() -> None:
    model = make_model(make_config(BASE))
    assert [dead_reason(model, path) for path in (NORM, "decoders.depth.head.classify", BANK)] == ["", "", ""]
    zero(model, f"{NORM}.weight", "decoders.depth.head.classify.weight", "backbone.stages.0.blocks.0.mlp.fc1.weight")
    assert dead_reason(model, NORM) == "its weights are zero: it answers its bias"
    assert dead_reason(model, "decoders.depth.head.classify") == "its weights are zero"
    assert dead_reason(model, "backbone.stages.0.blocks.0.mlp.fc1") == "its weights are zero"
    plain = nn.LayerNorm(8, elementwise_affine=False)
    model.get_submodule("backbone.stages.0.blocks.1").norm2 = plain
    assert dead_reason(model, NORM) == ""


@pytest.mark.parametrize("module", ["adapter.stages.0.blocks.0.banks.mlp.gate", "backbone.stages.0.blocks.0.mlp"])
def test_what_does_not_depend_on_the_image_is_refused(module: str) -> None:
    refuses(RULE, make_model(make_config(BASE)), module, "is no gate that depends on the image")


def test_a_static_gamma_is_refused() -> None:
    model = make_model(make_config(BASE.model_copy(update={"tsai": "static"})))
    refuses(RULE, model, "adapter.stages.0.tsai", "is no gate that depends on the image")
