"""Some of the tasks: the answers that are kept are those of the whole model, and everything only others need is gone.

before   F_t = G + D_t + γ_t ⊙ W_c [G ; mean_t D_t]     for every trained task
after    the same F_t for the tasks kept; mean_t still runs over every trained task
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import ConfigError
from compile.folds.base import step_of
from compile.folds.cost import trace_cost
from compile.module_folds import EXACT_RELATIVE, TASK_SUBSET, apply_steps, restrict
from tdss.adapters.tdss import DynamicGate, StaticGate, TdssStage
from tdss.config import ModelConfig, SsfConfig, TdssConfig
from tdss.model import MultiTaskModel
from tests.compile.folds import oracle
from tests.compile.folds.applied import few, untouched
from tests.compile.folds.models import (
    TASKS,
    adapted,
    configs,
    make_config,
    make_image,
    make_model,
    mtloras,
    outputs,
    relative,
    subsets,
)  # fmt: skip
from tests.compile.folds.oracle import TIGHT, far, make_tap

BASE = TdssConfig(experts=4, rank=3, gates=(("static", "dynamic"), ("dynamic",)))
CONFIG = make_config(BASE)
KEPT = ("depth", "semseg")  # in the model's order: semseg is the first task, depth the fifth


@pytest.mark.parametrize("tsai", ["off", "static", "dynamic"])
def test_the_kept_features_are_rows_of_all_of_them(tsai: str) -> None:
    model = make_model(make_config(BASE.model_copy(update={"tsai": tsai})))
    tap, whole = make_tap(model, 0), model.adapter.get_submodule("stages.0")
    assert isinstance(whole, TdssStage)
    want = oracle.features(whole, tap)[[0, 4]]
    kept, _ = restrict(model, KEPT, make_image(model.config).shape)
    answers = kept.adapter.get_submodule("stages.0")(tap)
    assert list(answers) == ["semseg", "depth"]
    assert far(want, torch.stack(list(answers.values()))) < TIGHT


def test_the_line_says_what_it_saves() -> None:
    model, shape = make_model(CONFIG), make_image(CONFIG).shape
    kept, [line] = restrict(model, KEPT, shape)
    assert tuple(kept.config.tasks) == ("semseg", "depth") and kept.config.name == "small-semseg-depth"
    assert (line.rule, line.form, line.exact) == (TASK_SUBSET, "semseg,depth", True)
    assert line.reason == "what only human_parts, saliency, normals, edge needs is gone"
    was, now = trace_cost(model, shape).total, trace_cost(kept, shape).total
    assert (line.macs_before, line.bytes_before, line.params_before) == was
    assert (line.macs_after, line.bytes_after, line.params_after) == now
    assert now.macs < was.macs and now.moved < was.moved and now.params < was.params


def test_what_only_other_tasks_need_is_gone_and_what_the_mean_needs_stays() -> None:
    names = set(restrict(make_model(CONFIG), KEPT, make_image(CONFIG).shape)[0].state_dict())
    assert not [name for name in names if "edge" in name]
    for tsai, rows in (("static", len(TASKS)), ("off", 2)):
        config = make_config(BASE.model_copy(update={"tsai": tsai}))
        kept, _ = restrict(make_model(config), KEPT, make_image(config).shape)
        gates = [part for part in kept.modules() if isinstance(part, StaticGate | DynamicGate)]
        assert {len(part.logits) if isinstance(part, StaticGate) else part.tasks for part in gates} == {rows}


def test_a_plans_step_repeats_it() -> None:
    kept, [line] = restrict(make_model(CONFIG), KEPT, make_image(CONFIG).shape)
    fresh = MultiTaskModel(CONFIG).double().eval()
    apply_steps(fresh, [step_of(line)])
    fresh.load_state_dict(kept.state_dict())
    image = make_image(CONFIG)
    assert relative(outputs(kept, image), outputs(fresh, image)) == 0.0 and fresh.config == kept.config


@few(12)
@given(configs | mtloras | st.builds(adapted, st.just(SsfConfig(kind="ssf")), tasks=subsets), st.data())
def test_any_tasks_of_any_model_answer_the_same(config: ModelConfig, data: st.DataObject) -> None:
    model, image = make_model(config), make_image(config)
    chosen = data.draw(st.lists(st.sampled_from(list(config.tasks)), min_size=1, unique=True))
    model_before = outputs(model, image)
    model.keep(chosen)
    after = outputs(model, image)
    assert list(after) == [task for task in config.tasks if task in chosen]
    assert relative(model_before, after) < EXACT_RELATIVE


def test_all_tasks_are_no_subset() -> None:
    model = make_model(CONFIG)
    kept, lines = restrict(model, tuple(TASKS), make_image(CONFIG).shape)
    assert lines == [] and kept.config == model.config
    assert np.all([torch.equal(a, b) for a, b in zip(kept.parameters(), model.parameters(), strict=True)])


@pytest.mark.parametrize(
    ("tasks", "got"),
    [(("depth", "flow"), "depth, flow"), (("depth", "depth"), "depth, depth"), ((), "no task")],
    ids=["unknown", "twice", "none"],
)
def test_a_task_it_does_not_have_is_refused_by_name(tasks: tuple[str, ...], got: str) -> None:
    model = make_model(CONFIG)
    with untouched(model), pytest.raises(ConfigError, match="these tasks cannot be kept") as refused:
        restrict(model, tasks, make_image(CONFIG).shape)
    assert refused.value.got == got
    assert model.config == CONFIG


def test_the_model_given_keeps_its_tasks() -> None:
    model = make_model(CONFIG)
    with untouched(model):
        restrict(model, KEPT, make_image(CONFIG).shape)
    assert tuple(model.config.tasks) == tuple(TASKS)
