"""A stage composed into one matrix per source: M_t,G and M_t,l of the docstring, with NumPy."""

from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compile.folds.base import Step
from compile.folds.compose import FORMS, FoldCompose
from compile.folds.composed import MATRIX, UNITS, ComposedStage, DynamicSource, StaticSource
from compile.folds.gamma import BRIDGE, BUILT, GammaStage
from compile.module_folds import EXACT_RELATIVE, rewrite
from tdss.adapters.tdss import SkillBank, StaticGate, TdssStage
from tdss.config import HrnetConfig, ModelConfig, NoAdapterConfig, TdssConfig
from tdss.model import MultiTaskModel
from tests.compile.folds.applied import change, few, fold_exactly, reasons, refuses
from tests.compile.folds.models import TASKS, adapted, configs, make_config, make_image, make_model
from tests.compile.folds.oracle import (
    TIGHT,
    Array,
    array,
    downsampled,
    downsamplers,
    far,
    gate_values,
    make_tap,
    sigmoid,
)  # fmt: skip

RULE = FoldCompose()
BASE = TdssConfig(experts=4, rank=3, gates=(("static", "dynamic"), ("dynamic", "static", "static")), alpha=1.5)
STAGE = "adapter.stages.0"


def stage_of(model: MultiTaskModel, path: str = STAGE) -> TdssStage:
    stage = model.get_submodule(path)
    assert isinstance(stage, TdssStage)
    return stage


def bank_of(stage: TdssStage, block: int) -> SkillBank:
    bank = stage.get_submodule(f"blocks.{block}.banks.mlp")
    assert isinstance(bank, SkillBank)
    return bank


def stacked(matrices: list[Array], weight: nn.Parameter) -> float:
    """How far the rows of all tasks are from these matrices."""
    return far(np.concatenate(matrices), weight)


def test_the_matrices_of_a_static_gamma_are_those_of_the_equation() -> None:
    model = make_model(make_config(BASE))
    stage, narrow = deepcopy(stage_of(model)), [array(p) for p in downsamplers(model, 0)]
    assert stage.tsai is not None and stage.tsai.weight is not None
    gamma, (first, second) = sigmoid(array(stage.tsai.weight)), np.split(array(stage.tsai.bridge.weight), 2, 1)
    fold_exactly(RULE, model)
    folded = model.get_submodule(STAGE)
    assert isinstance(folded, ComposedStage)
    generic = [p + p @ np.diag(row) @ first for p, row in zip(narrow, gamma, strict=True)]
    assert stacked(generic, folded.generic.weight) < TIGHT  # type: ignore[arg-type]
    bank, source = bank_of(stage, 0), folded.sources["0_mlp"]
    assert isinstance(bank.gate, StaticGate) and isinstance(source, StaticSource)
    values = gate_values(bank.gate, np.zeros((1, 1, 1, 8)))[0].repeat(3, -1)  # ĝ, over the rank
    up, mean = array(bank.up.weight), np.diag(values.mean(0))
    mixes = [
        1.5 * (p @ up @ np.diag(own) + p @ np.diag(row) @ second @ up @ mean)
        for p, row, own in zip(narrow, gamma, values, strict=True)
    ]
    assert stacked(mixes, source.mix.weight) < TIGHT  # type: ignore[arg-type]
    bank, dynamic = bank_of(stage, 1), folded.sources["1_mlp"]
    assert isinstance(dynamic, DynamicSource) and dynamic.shared is not None
    own = [1.5 * p @ array(bank.up.weight) for p in narrow]
    shared = [1.5 * p @ np.diag(row) @ second @ array(bank.up.weight) for p, row in zip(narrow, gamma, strict=True)]
    assert stacked(own, dynamic.own.flatten(2).flatten(0, 1)) < TIGHT  # type: ignore[arg-type]
    assert stacked(shared, dynamic.shared.flatten(2).flatten(0, 1)) < TIGHT  # type: ignore[arg-type]


def test_without_interaction_only_the_tasks_own_part_is_left() -> None:
    model = make_model(make_config(BASE.model_copy(update={"tsai": "off"})))
    narrow = [array(p) for p in downsamplers(model, 0)]
    fold_exactly(RULE, model)
    folded = model.get_submodule(STAGE)
    assert isinstance(folded, ComposedStage) and stacked(narrow, folded.generic.weight) < TIGHT  # type: ignore[arg-type]
    dynamic = folded.sources["1_mlp"]
    assert isinstance(dynamic, DynamicSource) and dynamic.shared is None


def test_every_downsampler_is_gone_and_the_reason_says_how() -> None:
    model = make_model(make_config(BASE))
    found = reasons(RULE, model, "folded")
    assert found[STAGE].startswith("1 static and 1 dynamic gates; a dynamic gate scales the")
    assert found["adapter.stages.1"].startswith("2 static and 1 dynamic gates")
    fold_exactly(RULE, model)
    for task in TASKS:
        assert all(isinstance(part, nn.Identity) for part in model.get_submodule(f"decoders.{task}.downsamplers"))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("tsai", "gates", "forms"),
    [("static", "static", {""}), ("off", "dynamic", {MATRIX, UNITS}), ("dynamic", "static", {BUILT, BRIDGE})],
)
def test_the_form_is_of_what_depends_on_the_image(tsai: str, gates: str, forms: set[str]) -> None:
    adapter = BASE.model_copy(update={"tsai": tsai, "gates": ((gates,), (gates, gates))})
    lines = list(RULE.candidates(make_model(make_config(adapter))))
    assert {line.form for line in lines} <= forms and all(FORMS[line.form] in line.reason for line in lines)


@few(30)
@given(configs, st.data())
def test_any_stage_in_any_form_is_that_of_the_equation(config: ModelConfig, data: st.DataObject) -> None:
    model = make_model(config)
    model.keep(data.draw(st.lists(st.sampled_from(list(config.tasks)), min_size=1, unique=True)))
    index = data.draw(st.integers(0, 1))
    stage = stage_of(model, f"adapter.stages.{index}")
    dynamic = stage.tsai is not None and stage.tsai.weight is None
    form = data.draw(st.sampled_from((BUILT, BRIDGE) if dynamic else (MATRIX, UNITS)))
    height, width = model.backbone.sizes[index]
    pooled = (height, width) == (2 * -(-config.image.height // 8), 2 * -(-config.image.width // 8))
    tap = make_tap(model, index)
    want = downsampled(model, index, tap, pooled=pooled)
    RULE.apply(model, Step(rule=RULE.name, module=f"adapter.stages.{index}", form=form))
    folded = model.get_submodule(f"adapter.stages.{index}")
    assert isinstance(folded, GammaStage if dynamic else ComposedStage)
    got = folded(tap)
    assert list(got) == list(want) and all(far(want[task], got[task]) < TIGHT * 10 for task in want)


@few(8)
@given(configs)
def test_any_model_answers_the_same(config: ModelConfig) -> None:
    assert change(RULE, make_model(config)) < EXACT_RELATIVE


def test_a_composition_of_more_macs_is_kept() -> None:
    """64 narrow channels beside a width of 16: narrow·E·r per task is more than the up-projection's dim·E·r was."""
    wide = make_config(BASE).model_copy(update={"decoder": HrnetConfig(widths=(3, 64), hidden=7)})
    model = make_model(wide)
    folded, [first, second] = rewrite(model, make_image(wide).shape, mode="all", rules=(RULE,))
    assert (first.decision, second.decision) == ("folded", "kept")
    assert "it would add" in second.reason and "MACs" in second.reason
    assert isinstance(folded.get_submodule("adapter.stages.1"), TdssStage)


def test_a_model_without_skills_has_no_site() -> None:
    model = make_model(adapted(NoAdapterConfig()))
    assert list(RULE.candidates(model)) == []
    refuses(RULE, model, "backbone.stages.0", "is no TdssStage")


def test_a_stage_is_composed_once() -> None:
    model = make_model(make_config(BASE))
    fold_exactly(RULE, model)
    refuses(RULE, model, STAGE, "is no TdssStage")


@pytest.mark.parametrize(
    ("place", "name", "match"),
    [
        (f"{STAGE}.blocks", "1", "block 1 is no TdssBlock"),
        (f"{STAGE}.blocks.1.banks", "mlp", "bank mlp of block 1 is no SkillBank"),
        ("decoders.edge.downsamplers", "0", "a downsampler is no Linear"),
        ("decoders", "semseg", "the decoder of semseg is no HrnetDecoder"),
    ],
)
def test_a_part_it_does_not_know_is_refused(place: str, name: str, match: str) -> None:
    model = make_model(make_config(BASE))
    setattr(model.get_submodule(place), name, nn.Identity())
    refuses(RULE, model, STAGE, match)
