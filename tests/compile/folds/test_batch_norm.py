"""A batch norm in the convolution before it: y = a ⊙ (W x + b − μ) + β, with NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from compile.folds.base import Step
from compile.folds.batch_norm import FoldBatchNorm
from compile.module_folds import EXACT_RELATIVE
from tdss.config import HrnetConfig, ModelConfig, TdssConfig
from tdss.decoders.hrnet import HrnetHead
from tests.compile.folds.applied import change, few, fold_exactly, reasons, refuses
from tests.compile.folds.models import TASKS, configs, make_config, make_model
from tests.compile.folds.oracle import TIGHT, Array, array, draw, far

RULE = FoldBatchNorm()
BASE = TdssConfig(experts=2, rank=2, gates=(("static",), ("dynamic",)))


def normalise(head: HrnetHead, x: Array) -> Array:
    """The head's convolution, then its norm with running statistics, on ``[batch, channels, height, width]``."""
    norm, mix = head.norm, head.mix
    gain = array(norm.weight) / np.sqrt(array(statistic(norm.running_var)) + norm.eps)
    mixed = np.einsum("oi,bihw->bohw", array(mix.weight)[:, :, 0, 0], x)
    bias = 0.0 if mix.bias is None else array(mix.bias)
    shift = gain * (bias - array(statistic(norm.running_mean))) + array(norm.bias)
    return np.asarray(gain[:, None, None] * mixed + shift[:, None, None])


def statistic(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


@pytest.mark.parametrize("mix_bias", [False, True])
def test_every_heads_norm_is_in_its_convolution(mix_bias: bool) -> None:
    model = make_model(make_config(BASE, mix_bias=mix_bias))
    heads = {task: model.get_submodule(f"decoders.{task}.head") for task in TASKS}
    x = draw(2, 8, 4, 4)
    want = {task: normalise(head, array(x)) for task, head in heads.items()}  # type: ignore[arg-type]
    steps = fold_exactly(RULE, model)
    assert [step.module for step in steps] == [f"decoders.{task}.head.norm" for task in TASKS]
    for task, head in heads.items():
        assert isinstance(head.norm, nn.Identity)
        assert far(want[task], head.mix(x)) < TIGHT  # type: ignore[operator]


@few(15)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 6), st.booleans(), st.floats(1e-6, 0.5))
def test_any_head_is_that_of_the_equation(widths: list[int], hidden: int, biased: bool, eps: float) -> None:
    config = HrnetConfig(widths=tuple(widths), hidden=hidden, mix_bias=biased)
    head = HrnetHead(config, 2, (8, 8)).double().eval()
    head.norm.eps = eps
    for place, tensor in enumerate(head.state_dict().values()):
        if tensor.is_floating_point():
            tensor.copy_(draw(*tensor.shape, seed=place))
    statistic(head.norm.running_var).abs_()
    x = draw(2, sum(widths), 3, 2, seed=20)
    want = normalise(head, array(x))
    holder = nn.ModuleDict({"head": head})
    RULE.apply(holder, Step(rule=RULE.name, module="head.norm"))  # type: ignore[arg-type]
    assert far(want, head.mix(x)) < TIGHT


@few(6)
@given(configs)
def test_any_model_answers_the_same(config: ModelConfig) -> None:
    assert change(RULE, make_model(config)) < EXACT_RELATIVE


def test_statistics_of_each_batch_are_no_constants() -> None:
    model = make_model(make_config(BASE))
    head = model.get_submodule("decoders.depth.head")
    head.norm = nn.BatchNorm2d(7, track_running_stats=False).double()
    found = reasons(RULE, model, "kept")
    assert found == {"decoders.depth.head.norm": "its statistics are each batch's own: it tracks no running ones"}
    assert len(reasons(RULE, model, "folded")) == len(TASKS) - 1
    refuses(RULE, model, "decoders.depth.head.norm", "tracks no running statistics")


@pytest.mark.parametrize("module", ["backbone.patch_embed.norm", "decoders.depth.head.norm"])
def test_what_is_no_batch_norm_of_a_head_is_refused(module: str) -> None:
    model = make_model(make_config(BASE))
    model.get_submodule("decoders.depth.head").norm = nn.Identity()
    refuses(RULE, model, module, "is not the norm of an HrnetHead")
