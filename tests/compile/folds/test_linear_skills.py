"""Skills without an activation: z += M (A n) is z += W n with W = M A, with NumPy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compile.folds.base import Step
from compile.folds.compose import FoldCompose
from compile.folds.composed import Hidden, StaticSource
from compile.folds.linear_skills import FoldLinearSkills, LinearSource
from compile.module_folds import EXACT_RELATIVE
from tdss.adapters.tdss import SkillBank
from tdss.config import ModelConfig, TdssConfig
from tdss.model import MultiTaskModel
from tests.compile.folds.applied import change, few, fold_exactly, fold_with, reasons, refuses
from tests.compile.folds.models import configs, make_config, make_model
from tests.compile.folds.oracle import TIGHT, affine, array, draw, far, halve, make_linear

RULE = FoldLinearSkills()
BASE = TdssConfig(experts=8, rank=2, gates=(("static", "dynamic"), ("dynamic",)), activation="none")
SOURCES = "adapter.stages.0.sources"


def composed(adapter: TdssConfig, tasks: tuple[str, ...] = ("depth",)) -> MultiTaskModel:
    model = make_model(make_config(adapter, tasks=tasks))
    fold_with(FoldCompose(), model)
    return model


def test_a_static_bank_of_linear_skills_is_one_matrix() -> None:
    model = composed(BASE)
    source = model.get_submodule(f"{SOURCES}.0_mlp")
    assert isinstance(source, StaticSource)
    want, n = array(source.mix.weight) @ array(source.hidden.down.weight), draw(2, 8, 8, 8)
    assert reasons(RULE, model, "folded") == {f"{SOURCES}.0_mlp": "one matrix has 24 entries, the two have 176"}
    fold_exactly(RULE, model)
    folded = model.get_submodule(f"{SOURCES}.0_mlp")
    assert isinstance(folded, LinearSource) and far(want, folded.mix.weight) < TIGHT
    assert far(halve(array(n)) @ want.T, folded(n)) < TIGHT


@few(20)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 6), st.integers(1, 9), st.booleans(), st.booleans())
def test_any_product_is_that_of_the_equation(
    experts: int, rank: int, dim: int, rows: int, biased: bool, pooled: bool
) -> None:
    config = BASE.model_copy(update={"experts": experts, "rank": rank})
    bank = SkillBank(config, dim, 2, "static").double()
    bank.down = make_linear(dim, experts * rank, bias=biased)
    source = StaticSource(Hidden(bank, pooled=pooled), draw(rows, experts * rank, seed=7))
    n = draw(2, 4, 2, dim, seed=8)
    read = halve(array(n)) if pooled else array(n)
    want = affine(read, bank.down) @ array(source.mix.weight).T
    model = nn.ModuleDict({"site": source})
    RULE.apply(model, Step(rule=RULE.name, module="site"))  # type: ignore[arg-type]
    assert isinstance(model["site"], LinearSource) and far(want, model["site"](n)) < TIGHT


@few(8)
@given(configs)
def test_any_model_answers_the_same(config: ModelConfig) -> None:
    linear = config.model_copy(update={"adapter": config.adapter.model_copy(update={"activation": "none"})})
    model = make_model(linear)
    fold_with(FoldCompose(), model)
    assert change(RULE, model) < EXACT_RELATIVE


def test_a_product_larger_than_its_factors_is_kept() -> None:
    model = composed(BASE.model_copy(update={"experts": 1}), tasks=("semseg", "depth", "edge"))
    assert reasons(RULE, model, "kept")[f"{SOURCES}.0_mlp"] == "one matrix has 72 entries, the two have 34"
    assert reasons(RULE, model, "folded") == {}


def test_a_gate_that_depends_on_the_image_keeps_its_bank() -> None:
    model = composed(BASE)
    kept = reasons(RULE, model, "kept")
    assert kept == dict.fromkeys(
        (f"{SOURCES}.1_mlp", "adapter.stages.1.sources.0_mlp"), "the gate depends on the image"
    )
    refuses(RULE, model, f"{SOURCES}.1_mlp", "is no StaticSource")


def test_a_gamma_that_depends_on_the_image_keeps_every_bank() -> None:
    kept = reasons(RULE, composed(BASE.model_copy(update={"tsai": "dynamic"})), "kept")
    assert len(kept) == 3 and set(kept.values()) == {"γ depends on the image"}


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_skills_with_an_activation_are_no_site(activation: str) -> None:
    assert list(RULE.candidates(composed(BASE.model_copy(update={"activation": activation})))) == []


def test_another_module_is_refused() -> None:
    refuses(RULE, make_model(make_config(BASE)), "adapter.stages.0.blocks.0.banks.mlp", "is no StaticSource")
