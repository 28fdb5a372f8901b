"""A low-rank update in its linear: W' = W + s·B A, with NumPy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compile.folds.base import Step
from compile.folds.low_rank import FoldLowRank
from compile.module_folds import EXACT_RELATIVE
from tdss.adapters.lora import LoraLinear
from tdss.config import ModelConfig, MtloraConfig, TdssConfig
from tests.compile.folds.applied import change, few, fold_exactly, reasons, refuses
from tests.compile.folds.models import adapted, make_config, make_model, mtloras
from tests.compile.folds.oracle import TIGHT, Array, affine, array, draw, far, make_linear

RULE = FoldLowRank()
CONFIG = adapted(MtloraConfig(kind="mtlora", rank=2, reduction=True))


def merged(lora: LoraLinear) -> Array:
    """W + s·B A."""
    up, down = array(lora.update.up), array(lora.update.down)
    result: Array = array(lora.linear.weight) + lora.update.scale * up @ down
    return result


def test_every_update_that_reads_what_its_linear_reads_is_merged() -> None:
    model = make_model(CONFIG)
    want = {path: merged(part) for path, part in model.named_modules() if isinstance(part, LoraLinear)}
    steps = fold_exactly(RULE, model)
    assert {step.module for step in steps} == set(want) and "backbone.stages.0.downsample.reduction" in want
    for path, weight in want.items():
        linear = model.get_submodule(path)
        assert isinstance(linear, nn.Linear) and far(weight, linear.weight) < TIGHT


@few(20)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.floats(-4, 4), st.booleans())
def test_any_update_is_that_of_the_equation(inputs: int, outputs: int, rank: int, scale: float, bias: bool) -> None:
    site = LoraLinear(make_linear(inputs, outputs, bias=bias), rank, scale)
    site.update.down, site.update.up = (
        nn.Parameter(draw(rank, inputs, seed=5)),
        nn.Parameter(draw(outputs, rank, seed=6)),
    )
    x = draw(3, 2, inputs, seed=7)
    want = affine(array(x), site.linear) + scale * array(x) @ array(site.update.down).T @ array(site.update.up).T
    model = nn.ModuleDict({"site": site})
    assert reasons(RULE, model, "folded") == {"site": f"rank {rank}, W and B·A read the same input"}
    RULE.apply(model, Step(rule=RULE.name, module="site"))  # type: ignore[arg-type]
    folded = model["site"]
    assert isinstance(folded, nn.Linear) and (folded.bias is not None) == bias and far(want, folded(x)) < TIGHT


@few(8)
@given(mtloras)
def test_any_model_answers_the_same(config: ModelConfig) -> None:
    assert change(RULE, make_model(config)) < EXACT_RELATIVE


def test_what_reads_two_streams_is_kept() -> None:
    model = make_model(CONFIG)
    kept = reasons(RULE, model, "kept")
    assert set(kept) == {
        f"backbone.stages.{stage}.blocks.{last}.{part}"
        for stage, last in ((0, 1), (1, 0))
        for part in ("fc1", "fc2", "block.attn.proj.streams")
    }
    assert set(kept.values()) == {"W reads the shared stream for every task, the updates their own"}
    refuses(RULE, model, next(iter(kept)), "is no LoraLinear")


def test_a_model_without_updates_has_none() -> None:
    model = make_model(make_config(TdssConfig(experts=1, rank=1, gates=(("static",), ("static",)))))
    assert list(RULE.candidates(model)) == []
    refuses(RULE, model, "backbone.stages.0.blocks.0.mlp.fc1", "is no LoraLinear")


@pytest.mark.parametrize("missing", ["adapter.nothing", "backbone.stages.9"])
def test_a_module_that_is_not_there_is_an_error(missing: str) -> None:
    with pytest.raises(AttributeError):
        RULE.apply(make_model(CONFIG), Step(rule=RULE.name, module=missing))
