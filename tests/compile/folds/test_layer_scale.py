"""LayerScale in the linear before it: y = λ ⊙ (W x + b), with NumPy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compile.folds.base import Step
from compile.folds.layer_scale import BRANCHES, FoldLayerScale
from compile.module_folds import EXACT_RELATIVE
from tdss.backbones.vit import LayerScale, VitBlock
from tdss.config import ModelConfig, SsfConfig, TdssConfig, VitConfig
from tests.compile.folds.applied import change, few, fold_exactly, reasons, refuses
from tests.compile.folds.models import adapted, make_config, make_model, vits
from tests.compile.folds.oracle import TIGHT, affine, array, draw, far, make_linear

RULE = FoldLayerScale()
BASE = TdssConfig(experts=2, rank=2, gates=(("static", "dynamic"), ("dynamic",)))


def test_every_gain_is_in_its_branchs_last_linear() -> None:
    model = make_model(make_config(BASE, vit_patch=4))
    blocks = [(path, block) for path, block in model.named_modules() if isinstance(block, VitBlock)]
    sites = [
        (f"{path}.{scale}", block.get_submodule(scale), block.get_submodule(linear))
        for path, block in blocks
        for scale, linear in BRANCHES
    ]
    inputs = {path: draw(2, 5, linear.in_features) for path, _, linear in sites}
    want = {path: array(scale.gain) * affine(array(inputs[path]), linear) for path, scale, linear in sites}  # type: ignore[arg-type]
    assert {step.module for step in fold_exactly(RULE, model)} == set(want)
    for path, _, linear in sites:
        assert isinstance(model.get_submodule(path), nn.Identity)
        assert far(want[path], linear(inputs[path])) < TIGHT  # type: ignore[operator]


@few(15)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.sampled_from(BRANCHES))
def test_any_gain_is_that_of_the_equation(heads: int, depth: int, ratio: int, branch: tuple[str, str]) -> None:
    dim = heads * depth
    block = VitBlock(VitConfig(kind="vit", dim=dim, depths=(1,), heads=heads, mlp_ratio=ratio), (2, 2), 0.0)
    linear = make_linear(dim if branch[0] == "scale1" else dim * ratio, dim)
    parent, _, name = branch[1].rpartition(".")
    setattr(block.get_submodule(parent), name, linear)
    scale = block.get_submodule(branch[0])
    assert isinstance(scale, LayerScale)
    scale.gain = nn.Parameter(draw(dim, seed=4))
    x = draw(3, linear.in_features, seed=5)
    want = array(scale.gain) * affine(array(x), linear)
    step = Step(rule=RULE.name, module=f"block.{branch[0]}")
    RULE.apply(nn.ModuleDict({"block": block}), step)  # type: ignore[arg-type]
    assert isinstance(block.get_submodule(branch[0]), nn.Identity) and far(want, linear(x)) < TIGHT


@few(5)
@given(vits)
def test_any_model_answers_the_same(config: ModelConfig) -> None:
    assert change(RULE, make_model(config)) < EXACT_RELATIVE


def test_a_gain_after_an_adapted_linear_is_kept() -> None:
    model = make_model(adapted(SsfConfig(kind="ssf"), vit_patch=4))
    kept = reasons(RULE, model, "kept")
    assert kept["backbone.stages.0.blocks.1.scale1"] == "backbone.stages.0.blocks.1.attn.proj is no plain linear"
    assert len(kept) == 6 and reasons(RULE, model, "folded") == {}
    refuses(RULE, model, "backbone.stages.0.blocks.1.scale1", "is no LayerScale after a Linear")


@pytest.mark.parametrize("module", ["backbone.stages.0.blocks.0.norm1", "backbone.stages.0.blocks.0.mlp.fc2"])
def test_another_module_is_refused(module: str) -> None:
    refuses(RULE, make_model(make_config(BASE, vit_patch=4)), module, "is no LayerScale after a Linear")


def test_a_swin_has_none() -> None:
    assert list(RULE.candidates(make_model(make_config(BASE)))) == []
