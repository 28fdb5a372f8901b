"""Every fold, alone and together, over random configurations: float64 equality, and what is refused with a reason."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from compile.fold import EXACT_RELATIVE, fold_model
from compile.folds.base import Fold
from compile.folds.compose import ComposedStage, DynamicSource, StaticSource, halve
from compile.folds.cost import count_macs, count_params
from compile.folds.table import FOLDS
from tdss.adapters.tdss import TdssStage
from tdss.backbones.vit import LayerScale
from tdss.config import ModelConfig, TdssConfig
from tdss.decoders.hrnet import resize
from tdss.model import MultiTaskModel
from tests.compile.folds.models import configs, make_config, make_image, make_model

BOTH = TdssConfig(experts=4, rank=3, gates=(("static", "dynamic"), ("dynamic", "static", "static")))


def outputs(model: MultiTaskModel, image: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        result: dict[str, torch.Tensor] = model(image)
    return result


def relative(reference: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((other[task] - want).abs().max() / want.abs().max()) for task, want in reference.items())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(configs)
def test_all_folds_together_are_exact(config: ModelConfig) -> None:
    model, image = make_model(config), make_image(config)
    before = outputs(model, image)
    folded, records = fold_model(model, image, mode="all")
    assert list(before) == list(outputs(folded, image))
    assert relative(before, outputs(folded, image)) < EXACT_RELATIVE
    assert relative(before, outputs(model, image)) == 0.0  # the model given is untouched
    assert all(record.macs_after <= record.macs_before for record in records if record.rule != "compose")
    assert all(record.reason for record in records)


@pytest.mark.parametrize("rule", FOLDS, ids=lambda rule: rule.name)
def test_each_fold_alone(rule: Fold) -> None:
    config = make_config(BOTH, vit_patch=4 if rule.name == "layer_scale" else 0)
    model, image = make_model(config), make_image(config)
    before = outputs(model, image)
    chosen = [candidate for candidate in rule.candidates(model) if candidate.decision == "folded"]
    assert chosen
    for candidate in chosen:
        rule.apply(model, candidate.module)
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE
    again = [candidate for candidate in rule.candidates(model) if candidate.decision == "folded"]
    assert not again  # idempotent: nothing is left to fold


def test_a_wrong_fold_would_be_seen() -> None:
    """The exactness check is not blind: one weight of a folded model moved by 1e-6 is over the bound."""
    config = make_config(BOTH)
    model, image = make_model(config), make_image(config)
    folded, _ = fold_model(model, image, mode="all")
    with torch.no_grad():
        folded.get_submodule("adapter.stages.0.generic").weight[0, 0] += 1e-6
    assert relative(outputs(model, image), outputs(folded, image)) > EXACT_RELATIVE


def test_compose_merges_static_gates_and_builds_dynamic_ones_per_image() -> None:
    config = make_config(BOTH)
    model, image = make_model(config), make_image(config)
    folded, _ = fold_model(model, image, mode="all")
    first = folded.adapter.get_submodule("stages.0")
    assert isinstance(first, ComposedStage)
    assert isinstance(first.sources["0_mlp"], StaticSource)
    assert isinstance(first.sources["1_mlp"], DynamicSource)
    static = first.sources["0_mlp"]
    assert static.mix.weight.shape == (6 * 3, 4 * 3)  # tasks·narrow × experts·rank


def test_dynamic_tsai_is_kept_and_says_why() -> None:
    config = make_config(BOTH.model_copy(update={"tsai": "dynamic"}))
    model, image = make_model(config), make_image(config)
    folded, records = fold_model(model, image, mode="all")
    kept = [record for record in records if record.rule == "compose"]
    assert [record.decision for record in kept] == ["kept", "kept"]
    assert "depends on the image" in kept[0].reason
    assert isinstance(folded.adapter.get_submodule("stages.1"), TdssStage)


def test_layer_norm_is_kept_where_windows_are_padded() -> None:
    config = make_config(BOTH, size=24)  # 6 tokens, windows of 4
    _, records = fold_model(make_model(config), make_image(config), mode="all")
    kept = {
        record.module: record.reason for record in records if record.rule == "layer_norm" and record.decision == "kept"
    }
    assert "padded with zeros" in kept["backbone.stages.0.blocks.0.norm1"]
    assert "residual" in kept["backbone.patch_embed.norm"]


def test_layer_norm_is_kept_where_biases_would_cost_more() -> None:
    config = make_config(BOTH.model_copy(update={"experts": 8, "rank": 4}))  # 32 units beside a width of 8
    _, records = fold_model(make_model(config), make_image(config), mode="all")
    kept = {
        record.module: record.reason for record in records if record.rule == "layer_norm" and record.decision == "kept"
    }
    assert kept["backbone.stages.0.blocks.0.norm2"] == "new biases take 32 parameters, the affine part frees 16"


def test_halving_is_the_decoders_resize() -> None:
    x = torch.randn(2, 6, 8, 3, dtype=torch.float64)
    resized = resize(x.permute(0, 3, 1, 2), (3, 4)).permute(0, 2, 3, 1)
    assert torch.allclose(halve(x), resized, rtol=0, atol=1e-15)


def test_costs_are_those_of_hand_counts() -> None:
    config = make_config(BOTH)
    model = make_model(config)
    macs = count_macs(model, make_image(config))
    # 64 tokens of 8 channels through an MLP of 16 hidden units
    assert macs.of(["backbone.stages.0.blocks.0.mlp"]) == 64 * 8 * 16 * 2
    assert macs.of(["decoders.semseg.head.mix"]) == 16 * 8 * 7
    assert count_params(model, ["backbone.stages.0.blocks.0.mlp"]) == 8 * 16 + 16 + 16 * 8 + 8


def test_a_vit_keeps_no_scale_and_no_affine_part() -> None:
    config = make_config(BOTH.model_copy(update={"experts": 1}), vit_patch=4)
    folded, records = fold_model(make_model(config), make_image(config), mode="all")
    assert not [module for module in folded.modules() if isinstance(module, LayerScale)]
    assert {record.decision for record in records if record.rule in ("layer_scale", "attention_scale")} == {"folded"}
    assert [record.module for record in records if record.decision == "kept"] == []


def test_mode_none_folds_nothing() -> None:
    config = make_config(BOTH)
    model, image = make_model(config), make_image(config)
    folded, records = fold_model(model, image, mode="none")
    assert records == []
    assert relative(outputs(model, image), outputs(folded, image)) == 0.0
