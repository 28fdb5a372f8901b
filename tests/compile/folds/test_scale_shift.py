"""A gain and a shift in the linear before them: y = γ ⊙ (W x + b) + β, with NumPy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compile.folds.base import Step
from compile.folds.scale_shift import FoldScaleShift
from compile.module_folds import EXACT_RELATIVE
from tdss.adapters.lora import LINEARS, ScaledLinear
from tdss.config import SsfConfig, TdssConfig
from tests.compile.folds.applied import change, few, fold_exactly, reasons, refuses
from tests.compile.folds.models import adapted, make_config, make_model, subsets
from tests.compile.folds.oracle import TIGHT, affine, array, draw, far, make_linear

RULE = FoldScaleShift()
SSF = SsfConfig(kind="ssf")


@pytest.mark.parametrize("patch", [0, 4])
def test_every_scaled_linear_is_one_linear(patch: int) -> None:
    model = make_model(adapted(SSF, vit_patch=patch))
    sites = {path: part for path, part in model.named_modules() if isinstance(part, ScaledLinear)}
    weights = {path: array(part.gain)[:, None] * array(part.linear.weight) for path, part in sites.items()}
    biases = {path: array(part.gain) * array(part.linear.bias) + array(part.shift) for path, part in sites.items()}
    assert len(sites) == 3 * len(LINEARS)  # three blocks
    assert {step.module for step in fold_exactly(RULE, model)} == set(sites)
    for path in sites:
        linear = model.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        assert far(weights[path], linear.weight) < TIGHT and far(biases[path], linear.bias) < TIGHT


@few(20)
@given(st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_any_gain_and_shift_are_those_of_the_equation(inputs: int, outputs: int, bias: bool) -> None:
    site = ScaledLinear(make_linear(inputs, outputs, bias=bias))
    site.gain, site.shift = nn.Parameter(draw(outputs, seed=5)), nn.Parameter(draw(outputs, seed=6))
    x = draw(3, 2, inputs, seed=7)
    want = array(site.gain) * affine(array(x), site.linear) + array(site.shift)
    model = nn.ModuleDict({"site": site})
    assert reasons(RULE, model, "folded") == {"site": "the gain and the shift are constants after a linear"}
    RULE.apply(model, Step(rule=RULE.name, module="site"))  # type: ignore[arg-type]
    assert isinstance(model["site"], nn.Linear) and far(want, model["site"](x)) < TIGHT


@few(5)
@given(subsets, st.sampled_from([(24, 0), (32, 0), (16, 4), (40, 8)]))
def test_any_model_answers_the_same(tasks: tuple[str, ...], shape: tuple[int, int]) -> None:
    model = make_model(adapted(SSF, tasks=tasks, size=shape[0], vit_patch=shape[1]))
    assert change(RULE, model) < EXACT_RELATIVE


def test_a_plain_linear_is_refused() -> None:
    model = make_model(make_config(TdssConfig(experts=1, rank=1, gates=(("static",), ("static",)))))
    assert list(RULE.candidates(model)) == []
    refuses(RULE, model, "backbone.stages.0.blocks.0.mlp.fc1", "is no ScaledLinear")
