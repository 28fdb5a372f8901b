"""The parts of a composed stage against NumPy, and the form of a dynamic gate against the traced cost."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compile.folds.base import Step
from compile.folds.compose import FoldCompose
from compile.folds.composed import (
    MATRIX,
    UNITS,
    DynamicSource,
    Hidden,
    StaticSource,
    answered,
    gate_form,
    halve,
    input_of,
    mixed,
)  # fmt: skip
from compile.folds.cost import trace_cost
from tdss.adapters.tdss import SkillBank
from tdss.backbones.base import BlockTap, StageTap
from tdss.config import HrnetConfig, TdssConfig
from tdss.decoders.hrnet import resize
from tests.compile.folds import oracle
from tests.compile.folds.applied import few
from tests.compile.folds.models import make_config, make_model
from tests.compile.folds.oracle import TIGHT, array, draw, far, gate_values

CONFIG = TdssConfig(experts=3, rank=2, gates=(("dynamic",), ("dynamic",)))
shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4), st.integers(1, 6))


def make_bank(experts: int = 3, rank: int = 2, *, tasks: int = 3, dim: int = 5, activation: str = "gelu") -> SkillBank:
    config = CONFIG.model_copy(update={"experts": experts, "rank": rank, "activation": activation})
    bank = SkillBank(config, dim, tasks, "dynamic").double()
    for place, parameter in enumerate(bank.parameters()):
        parameter.data = draw(*parameter.shape, seed=place)
    return bank


@few(15)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_halving_is_the_decoders_resize(batch: int, height: int, width: int, channels: int) -> None:
    x = draw(batch, 2 * height, 2 * width, channels)
    resized = resize(x.permute(0, 3, 1, 2), (height, width)).permute(0, 2, 3, 1)
    assert far(oracle.halve(array(x)), halve(x)) < TIGHT and far(oracle.halve(array(x)), resized.contiguous()) < TIGHT


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("pooled", [False, True])
def test_hidden_units_are_averaged_after_their_activation(activation: str, pooled: bool) -> None:
    bank, n = make_bank(activation=activation), draw(2, 4, 6, 5, seed=9)
    want = oracle.hidden(bank, array(n))
    assert far(oracle.halve(want) if pooled else want, Hidden(bank, pooled=pooled)(n)) < TIGHT


@few(15)
@given(shapes, st.booleans())
def test_a_static_source_is_one_matrix_on_the_hidden_units(shape: tuple[int, ...], pooled: bool) -> None:
    experts, rank, _, narrow, dim = shape
    bank, matrix = make_bank(experts, rank, dim=dim), draw(narrow, experts * rank, seed=4)
    n = draw(2, 2, 4, dim, seed=9)
    want = oracle.hidden(bank, array(n)) @ array(matrix).T
    got = StaticSource(Hidden(bank, pooled=pooled), matrix)(n)
    assert far(oracle.halve(want) if pooled else want, got) < TIGHT


@few(25)
@given(shapes, st.booleans(), st.sampled_from([MATRIX, UNITS]), st.data())
def test_a_dynamic_source_scales_each_skills_columns(
    shape: tuple[int, ...], shares: bool, form: str, data: st.DataObject
) -> None:
    experts, rank, tasks, narrow, dim = shape
    answers = data.draw(st.lists(st.integers(0, tasks - 1), min_size=1, unique=True).map(sorted))
    bank, n = make_bank(experts, rank, tasks=tasks, dim=dim), draw(2, 3, 2, dim, seed=9)
    own, shared = (draw(len(answers), narrow, experts, rank, seed=seed) for seed in (10, 11))
    gate, u = gate_values(bank.gate, array(n)), oracle.hidden(bank, array(n)).reshape(2, 3, 2, experts, rank)
    want = np.einsum("bte,tner,bhwer->bhwtn", gate[:, answers], array(own), u)
    if shares:
        want = want + np.einsum("be,tner,bhwer->bhwtn", gate.mean(1), array(shared), u)
    source = DynamicSource(Hidden(bank, pooled=False), bank.gate, own, shared if shares else None, answers, form)
    assert far(want.reshape(2, 3, 2, -1), source(n)) < TIGHT


@pytest.mark.parametrize("form", [MATRIX, UNITS])
def test_the_mean_runs_over_every_trained_task(form: str) -> None:
    """One of three tasks is answered: ḡ is the mean of three rows."""
    bank, n = make_bank(), draw(2, 3, 2, 5, seed=9)
    own, shared = draw(1, 4, 3, 2, seed=10), draw(1, 4, 3, 2, seed=11)
    gate, u = gate_values(bank.gate, array(n)), oracle.hidden(bank, array(n)).reshape(2, 3, 2, 3, 2)
    want = np.einsum("be,ner,bhwer->bhwn", gate[:, 1], array(own)[0], u)
    want = want + np.einsum("be,ner,bhwer->bhwn", gate.mean(1), array(shared)[0], u)
    assert far(want, DynamicSource(Hidden(bank, pooled=False), bank.gate, own, shared, (1,), form)(n)) < TIGHT


def test_the_matrix_of_one_image_is_that_of_the_equation() -> None:
    own, shared, gate = draw(2, 4, 3, 2), draw(2, 4, 3, 2, seed=2), draw(5, 3, 3, seed=3)
    g = array(gate)
    want = np.einsum("tner,bte->btner", array(own), g[:, [2, 0]])
    assert far(want, mixed(own, None, gate, (2, 0))) < TIGHT
    want = want + np.einsum("tner,be->btner", array(shared), g.mean(1))
    assert far(want, mixed(own, shared, gate, (2, 0))) < TIGHT


def test_all_trained_tasks_need_no_selection() -> None:
    gate = draw(2, 3, 4)
    assert answered(gate, (0, 1, 2)) is gate
    assert torch.equal(answered(gate, (2, 0)), gate[:, [2, 0]])


def test_a_source_reads_the_input_of_its_block_and_site() -> None:
    maps = [draw(1, 2, 2, 3, seed=seed) for seed in range(4)]
    tap = StageTap((BlockTap(maps[0], maps[1]), BlockTap(maps[2], maps[3])), draw(1, 2, 2, 3, seed=9))
    assert input_of(tap, "1_attention") is maps[2] and input_of(tap, "0_mlp") is maps[1]


@pytest.mark.parametrize(
    ("size", "narrow", "tsai", "best"),
    [(8, 40, "static", UNITS), (64, 3, "static", MATRIX), (8, 40, "off", UNITS), (64, 3, "off", MATRIX)],
)
def test_the_form_is_the_one_that_moves_less(size: int, narrow: int, tsai: str, best: str) -> None:
    """Few pixels and a large matrix, many pixels and a small one; both forms traced."""
    config = make_config(CONFIG.model_copy(update={"tsai": tsai, "experts": 8}), size=size)
    model = make_model(config.model_copy(update={"decoder": HrnetConfig(widths=(3, narrow), hidden=7)}))
    lines = {line.module: line.form for line in FoldCompose().candidates(model)}
    assert lines["adapter.stages.1"] == best
    weights = {}
    for form in (MATRIX, UNITS):
        folded = deepcopy(model)
        FoldCompose().apply(folded, Step(rule="compose", module="adapter.stages.1", form=form))
        trace = trace_cost(folded, (1, 3, size, size))
        weights[form] = trace.of(folded, ["adapter.stages.1"]).weight
    assert min(weights, key=lambda form: weights[form]) == best


def test_a_shared_part_makes_the_units_dearer() -> None:
    """Alone 2·12·8 values against 2·2·8 per pixel; shared 6·12·8 against 2·3·8 and 12·8 MACs, 32 of which are a value."""
    sizes = {"rows": 12, "units": 8, "tasks": 2}
    assert gate_form(pixels=6, shared=False, **sizes) == MATRIX and gate_form(pixels=5, shared=False, **sizes) == UNITS
    assert gate_form(pixels=12, shared=True, **sizes) == MATRIX and gate_form(pixels=11, shared=True, **sizes) == UNITS
