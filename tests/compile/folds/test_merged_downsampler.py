"""A merging's reduction in the downsamplers that read it: z_t = P_t (R n̂_t + r), with NumPy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compile.folds.base import Step
from compile.folds.cost import trace_cost
from compile.folds.low_rank import FoldLowRank
from compile.folds.merged_downsampler import FoldMergedDownsampler
from compile.module_folds import EXACT_RELATIVE, rewrite
from tdss.backbones.swin import SwinStage
from tdss.config import HrnetConfig, ModelConfig, MtloraConfig, TdssConfig
from tdss.model import MultiTaskModel
from tests.compile.folds.applied import few, fold_exactly, fold_with, reasons, refuses
from tests.compile.folds.models import TASKS, adapted, make_config, make_image, make_model, mtloras, outputs, relative
from tests.compile.folds.oracle import TIGHT, affine, array, downsamplers, draw, far, make_linear

RULE = FoldMergedDownsampler()
CONFIG = adapted(MtloraConfig(kind="mtlora", rank=2))
STAGE = "backbone.stages.0"


def stage_of(model: MultiTaskModel) -> SwinStage:
    stage = model.get_submodule(STAGE)
    assert isinstance(stage, SwinStage) and stage.downsample is not None
    return stage


def test_each_tasks_downsampler_holds_the_reduction() -> None:
    model = make_model(CONFIG)
    stage = stage_of(model)
    assert stage.downsample is not None
    reduction = array(stage.downsample.reduction.weight)
    want = [array(narrow) @ reduction for narrow in downsamplers(model, 0)]
    last = [array(narrow) for narrow in downsamplers(model, 1)]
    assert [step.module for step in fold_exactly(RULE, model)] == [STAGE]
    for product, narrow in zip(want, downsamplers(model, 0), strict=True):
        assert product.shape == (3, 32) and far(product, narrow) < TIGHT
    assert all(far(kept, narrow) == 0 for kept, narrow in zip(last, downsamplers(model, 1), strict=True))
    assert far(reduction, stage.downsample.reduction.weight) == 0 and not stage.reduces_streams  # the shared stream's


def test_it_saves_macs_and_bytes() -> None:
    folded, [line] = rewrite(make_model(CONFIG), make_image(CONFIG).shape, mode="all", rules=(RULE,))
    before, after = (trace_cost(model, make_image(CONFIG).shape).total for model in (make_model(CONFIG), folded))
    assert (
        line.bytes_before - line.bytes_after == before.moved - after.moved
    )  # what the line says is what the model saves
    assert (line.decision, line.reason) == ("folded", "each task's downsampler alone reads its reduced stream")
    assert line.macs_after < line.macs_before and line.bytes_after < line.bytes_before


@few(12)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9), st.booleans())
def test_any_product_is_that_of_the_equation(tasks: int, dim: int, narrow: int, biased: bool) -> None:
    model = make_model(adapted(MtloraConfig(kind="mtlora", rank=1), tasks=tuple(TASKS)[:tasks]))
    stage = stage_of(model)
    assert stage.downsample is not None
    stage.downsample.reduction = make_linear(4 * dim, 2 * dim, bias=biased)
    paths = [f"decoders.{task}.downsamplers.0" for task in model.decoders]
    x, want = draw(2, 3, 4 * dim, seed=30), {}
    for place, path in enumerate(paths):
        head, _, name = path.rpartition(".")
        linear = make_linear(2 * dim, narrow, bias=False, seed=10 + place)
        model.get_submodule(head)[int(name)] = linear  # type: ignore[operator]
        want[path] = affine(affine(array(x), stage.downsample.reduction), linear)
    RULE.apply(model, Step(rule=RULE.name, module=STAGE))
    for path in paths:
        assert far(want[path], model.get_submodule(path)(x)) < TIGHT


@few(8)
@given(mtloras)
def test_any_model_answers_the_same(config: ModelConfig) -> None:
    model, image = make_model(config), make_image(config)
    before = outputs(model, image)
    fold_with(FoldLowRank(), model)
    assert len(fold_with(RULE, model)) == 1
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE


def test_an_adapted_reduction_is_kept() -> None:
    model = make_model(adapted(MtloraConfig(kind="mtlora", rank=2, reduction=True)))
    assert reasons(RULE, model, "kept") == {STAGE: "the reduction is no plain linear"}
    assert reasons(RULE, model, "folded") == {}


def test_a_product_of_more_macs_than_its_factors_is_kept() -> None:
    """narrow·4d > 2d·4d/tasks + narrow·2d: 40 narrow channels beside a width of 8."""
    wide = CONFIG.model_copy(update={"decoder": HrnetConfig(widths=(40, 5), hidden=7)})
    folded, [line] = rewrite(make_model(wide), make_image(wide).shape, mode="all", rules=(RULE,))
    assert line.decision == "kept" and "it would add" in line.reason and "MACs" in line.reason
    assert stage_of(folded).reduces_streams


def test_the_last_stage_and_other_adapters_have_no_site() -> None:
    model = make_model(CONFIG)
    assert list(reasons(RULE, model, "folded")) == [STAGE]
    refuses(RULE, model, "backbone.stages.1", "is no SwinStage with a merging")
    tdss = make_model(make_config(TdssConfig(experts=1, rank=1, gates=(("static",), ("static",)))))
    assert list(RULE.candidates(tdss)) == []


def test_a_downsampler_that_is_no_linear_is_refused() -> None:
    model = make_model(CONFIG)
    model.get_submodule("decoders.semseg.downsamplers")[0] = nn.Identity()  # type: ignore[operator]
    refuses(RULE, model, STAGE, "decoders.semseg.downsamplers.0 is no Linear")


@pytest.mark.parametrize("module", ["backbone.stages.0.downsample", "decoders.depth"])
def test_another_module_is_refused(module: str) -> None:
    refuses(RULE, make_model(CONFIG), module, "is no SwinStage with a merging")
