"""Stochastic depth: x + mask/(1 − p) ⊙ f(x) while training, x + f(x) at inference and after the fold."""

from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compile.folds.base import Step
from compile.folds.training_only import FoldTrainingOnly
from compile.module_folds import EXACT_RELATIVE
from tdss.backbones.swin import DropPath
from tdss.config import ModelConfig, TdssConfig
from tests.compile.folds.applied import change, few, fold_exactly, reasons, refuses
from tests.compile.folds.models import configs, make_config, make_model
from tests.compile.folds.oracle import array, draw, far

RULE = FoldTrainingOnly()
BASE = TdssConfig(experts=2, rank=2, gates=(("static", "dynamic"), ("dynamic",)))


def dropping(config: ModelConfig, p: float) -> ModelConfig:
    return config.model_copy(update={"backbone": config.backbone.model_copy(update={"drop_path": p})})


def test_every_drop_path_that_could_drop_leaves() -> None:
    model = make_model(dropping(make_config(BASE), 0.2))
    assert reasons(RULE, model, "folded") == {
        "backbone.stages.0.blocks.1.drop_path": "drops with p = 0.1 in training only",
        "backbone.stages.1.blocks.0.drop_path": "drops with p = 0.2 in training only",
    }
    assert [step.module for step in fold_exactly(RULE, model)] == [
        "backbone.stages.0.blocks.1.drop_path",
        "backbone.stages.1.blocks.0.drop_path",
    ]
    model.train()
    assert isinstance(model.get_submodule("backbone.stages.1.blocks.0.drop_path"), nn.Identity)


@few(15)
@given(st.floats(0.01, 0.99), st.lists(st.integers(1, 4), min_size=2, max_size=4))
def test_in_training_mode_too_nothing_is_dropped(p: float, shape: list[int]) -> None:
    model = nn.ModuleDict({"site": DropPath(p)}).train()
    x = draw(*shape)
    RULE.apply(model, Step(rule=RULE.name, module="site"))  # type: ignore[arg-type]
    assert far(array(x), model["site"](x)) == 0.0


@few(5)
@given(configs, st.floats(0.01, 0.9))
def test_any_model_answers_the_same(config: ModelConfig, p: float) -> None:
    assert change(RULE, make_model(dropping(config, p))) < EXACT_RELATIVE


def test_what_never_drops_is_no_site() -> None:
    assert list(RULE.candidates(make_model(make_config(BASE)))) == []


def test_another_module_is_refused() -> None:
    refuses(RULE, make_model(make_config(BASE)), "backbone.stages.0.blocks.0.mlp", "is no DropPath")
