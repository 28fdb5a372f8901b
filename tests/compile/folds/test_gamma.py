"""A stage whose γ depends on the image, in both forms, against the stage's equations in NumPy."""

import re
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compile.folds.base import Step
from compile.folds.compose import FoldCompose, compose_gamma
from compile.folds.cost import trace_cost
from compile.folds.gamma import BRIDGE, BUILT, GammaStage, gamma_form
from targets.scheme import GATE
from tdss.adapters.tdss import SkillBank, TdssStage
from tdss.config import ModelConfig, TdssConfig
from tdss.model import MultiTaskModel
from tests.compile.folds import oracle
from tests.compile.folds.applied import few, fold_exactly, fold_with
from tests.compile.folds.models import configs, make_config, make_model
from tests.compile.folds.oracle import TIGHT, array, downsampled, far, make_tap

BASE = TdssConfig(
    experts=4, rank=2, gates=(("static", "dynamic"), ("dynamic",)), tsai="dynamic", insertion="both", alpha=0.5
)
FORMS = (BUILT, BRIDGE)


def composed(model: MultiTaskModel, index: int, form: str) -> GammaStage:
    FoldCompose().apply(model, Step(rule="compose", module=f"adapter.stages.{index}", form=form))
    stage = model.get_submodule(f"adapter.stages.{index}")
    assert isinstance(stage, GammaStage)
    return stage


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("index", [0, 1])
def test_both_forms_are_the_stages_equations(index: int, form: str) -> None:
    model = make_model(make_config(BASE))
    tap = make_tap(model, index)
    want = downsampled(model, index, tap, pooled=index == 0)
    got = composed(model, index, form)(tap)
    assert list(got) == list(want) and max(far(want[task], got[task]) for task in want) < TIGHT * 10


def test_gamma_needs_no_map() -> None:
    """γ_t = sigmoid(W_t [GAP(G); α Σ_l B_l (ĝ ⊙ GAP(u_l))]), from pooled hidden units, is that of the maps."""
    model = make_model(make_config(BASE))
    original, tap = deepcopy(model.get_submodule("adapter.stages.1")), make_tap(model, 1)
    assert isinstance(original, TdssStage)
    want = oracle.gammas(original, array(tap.output), oracle.adapted(original, tap))
    stage = composed(model, 1, BUILT)
    sources = list(stage.sources.values())
    inputs = [tap.blocks[0].attention, tap.blocks[0].mlp]
    read = [source.read(n, stage.answers) for source, n in zip(sources, inputs, strict=True)]  # type: ignore[operator]
    got = stage._gamma(tap.output.flatten(1, 2), sources, read)  # type: ignore[arg-type]
    assert far(want.transpose(1, 0, 2), got) < TIGHT


def test_the_products_are_those_of_the_equation() -> None:
    model = make_model(make_config(BASE))
    narrow = oracle.downsamplers(model, 1)
    original = deepcopy(model.get_submodule("adapter.stages.1"))
    assert isinstance(original, TdssStage) and original.tsai is not None
    bank = original.get_submodule("blocks.0.banks.attention")
    assert isinstance(bank, SkillBank)
    up, second = 0.5 * array(bank.up.weight), array(original.tsai.bridge.weight)[:, 16:]
    source = composed(model, 1, BUILT).sources["0_attention"]
    assert far(up, source.up) < TIGHT and far(second @ up, source.across) < TIGHT  # type: ignore[arg-type]
    for task, p in enumerate(narrow):
        assert far(array(p) @ up, source.own[task]) < TIGHT  # type: ignore[index]


@few(15)
@given(configs, st.sampled_from(FORMS), st.data())
def test_any_stage_of_any_tasks_is_that_of_the_equations(config: ModelConfig, form: str, data: st.DataObject) -> None:
    dynamic = config.adapter.model_copy(update={"tsai": "dynamic"})
    model = make_model(config.model_copy(update={"adapter": dynamic}))
    model.keep(data.draw(st.lists(st.sampled_from(list(config.tasks)), min_size=1, unique=True)))
    tap, (height, width) = make_tap(model, 1), model.backbone.sizes[1]
    grid = tuple(-(-side // 8) for side in (config.image.height, config.image.width))
    want = downsampled(model, 1, tap, pooled=(height, width) == (2 * grid[0], 2 * grid[1]))
    got = composed(model, 1, form)(tap)
    assert list(got) == list(want) and max(far(want[task], got[task]) for task in want) < TIGHT * 10


def test_the_network_of_gamma_is_a_module_named_gate() -> None:
    """It is left in float by its name, and it costs tasks·dim·2·dim MACs before and after."""
    model = make_model(make_config(BASE))
    for module in ("adapter.stages.1.tsai.gate", "adapter.stages.1.gate"):
        assert re.fullmatch(GATE.pattern, f"{module}/MatMul")
        assert trace_cost(model, (1, 3, 32, 32)).macs[module] == 6 * 16 * 32
        fold_with(FoldCompose(), model)


def test_neither_form_costs_more_than_the_stage_did() -> None:
    model = make_model(make_config(BASE))
    assert {step.form for step in fold_exactly(FoldCompose(), model)} <= set(FORMS)


@pytest.mark.parametrize("size", [8, 64])
def test_the_form_is_the_one_of_fewer_macs(size: int) -> None:
    """The difference of both traces is that of the docstring's two counts."""
    model = make_model(make_config(BASE, size=size))
    rows, dim, units, pixels = 6 * 5, 16, 2 * 8, (size // 8) ** 2
    macs = {}
    for form in FORMS:
        folded = deepcopy(model)
        composed(folded, 1, form)
        macs[form] = trace_cost(folded, (1, 3, size, size)).of(folded, ["adapter.stages.1"]).macs
    assert macs[BUILT] - macs[BRIDGE] == rows * dim * (dim + units) - pixels * dim * (dim + units + rows)
    best = min(macs, key=lambda form: macs[form])
    assert best == gamma_form(rows=rows, dim=dim, units=units, pixels=pixels)
    assert {line.module: line.form for line in FoldCompose().candidates(model)}["adapter.stages.1"] == best


def test_few_pixels_choose_the_bridge_and_many_the_matrices() -> None:
    assert gamma_form(rows=864, dim=384, units=256, pixels=49) == BRIDGE
    assert gamma_form(rows=108, dim=48, units=256, pixels=784) == BUILT


@pytest.mark.parametrize("tsai", ["static", "off"])
def test_a_gamma_that_is_a_constant_is_refused(tsai: str) -> None:
    model = make_model(make_config(BASE.model_copy(update={"tsai": tsai})))
    stage = model.get_submodule("adapter.stages.0")
    assert isinstance(stage, TdssStage)
    with pytest.raises(TypeError, match="the stage has no dynamic γ"):
        compose_gamma(stage, None, BUILT)  # type: ignore[arg-type]
