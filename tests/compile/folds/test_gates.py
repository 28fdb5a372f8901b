"""What rewrites leave of a gate: a constant, some of its values, or no bank at all."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compile.folds.gates import ConstantGate, DeadBank, PickedGate, constant_of, is_static, pick, tasks_of
from tdss.adapters.tdss import DynamicGate, SkillBank, StaticGate
from tdss.config import TdssConfig
from tests.compile.folds.applied import few, untouched
from tests.compile.folds.oracle import TIGHT, array, draw, far, gate_values

CONFIG = TdssConfig(experts=4, rank=2, gates=(("static",),), temperature=0.7)
KINDS = ("static", "dynamic")


def make_gate(kind: str, config: TdssConfig = CONFIG, tasks: int = 3, dim: int = 5) -> StaticGate | DynamicGate:
    gate = StaticGate(config, tasks) if kind == "static" else DynamicGate(config, tasks, dim)
    gate.double()
    for place, parameter in enumerate(gate.parameters()):
        parameter.data = draw(*parameter.shape, seed=place)
    return gate


@few(25)
@given(st.sampled_from(KINDS), st.integers(1, 5), st.integers(1, 6), st.integers(0, 4), st.floats(0.3, 3), st.data())
def test_what_is_kept_is_not_normalised_again(
    kind: str, tasks: int, experts: int, top_k: int, temperature: float, data: st.DataObject
) -> None:
    updates = {"experts": experts, "top_k": top_k, "temperature": temperature}
    gate = make_gate(kind, CONFIG.model_copy(update=updates), tasks)
    kept = data.draw(st.lists(st.integers(0, experts - 1), min_size=1, unique=True).map(sorted))
    n = draw(2, 3, 4, 5, seed=9)
    want = gate_values(gate, array(n))[..., kept]
    got = pick(gate, kept)(n).expand(2, -1, -1)
    assert isinstance(pick(gate, kept), ConstantGate if kind == "static" else PickedGate)
    assert far(want, got) < TIGHT
    again = data.draw(st.lists(st.integers(0, len(kept) - 1), min_size=1, unique=True).map(sorted))
    assert far(want[..., again], pick(pick(gate, kept), again)(n).expand(2, -1, -1)) < TIGHT


def test_a_constant_gate_reads_nothing_and_keeps_rows() -> None:
    gate = ConstantGate(draw(3, 4))
    assert torch.equal(gate(torch.empty(0)), draw(3, 4)[None])
    gate.keep([2, 0])
    assert torch.equal(gate.values, draw(3, 4)[[2, 0]])


def test_a_picked_gate_that_became_a_constant_is_static() -> None:
    dynamic = make_gate("dynamic")
    assert isinstance(dynamic, DynamicGate)
    picked = PickedGate(dynamic, (1, 3))
    assert not is_static(picked)
    picked.gate = ConstantGate(draw(3, 4))  # type: ignore[assignment]
    assert is_static(picked) and torch.equal(constant_of(picked), draw(3, 4)[:, [1, 3]])


def test_the_value_of_a_static_gate_is_its_softmax() -> None:
    gate = make_gate("static")
    assert is_static(gate) and far(gate_values(gate, np.zeros((1, 1, 1, 5)))[0], constant_of(gate)) < TIGHT


@pytest.mark.parametrize("gate", [make_gate("dynamic"), nn.Identity()])
def test_what_depends_on_the_image_has_no_value(gate: nn.Module) -> None:
    assert not is_static(gate)
    with untouched(gate), pytest.raises(TypeError, match="the gate depends on the image"):
        constant_of(gate)


def test_only_gates_are_picked_from() -> None:
    with pytest.raises(TypeError, match="Identity is no gate of skills"):
        pick(nn.Identity(), [0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_banks_tasks_are_those_of_its_gate(kind: str) -> None:
    bank = SkillBank(CONFIG, 5, 3, kind)  # type: ignore[arg-type]
    assert tasks_of(bank) == 3
    bank.gate = pick(bank.gate, (0, 2))  # type: ignore[assignment]
    assert tasks_of(bank) == 3


@few(5)
@given(st.integers(1, 6), st.lists(st.integers(1, 3), min_size=4, max_size=4))
def test_a_dead_bank_adds_nothing(tasks: int, shape: list[int]) -> None:
    deltas = DeadBank(tasks)(torch.ones(shape))
    assert len(deltas) == tasks and all(list(delta.shape) == shape and not delta.any() for delta in deltas)
