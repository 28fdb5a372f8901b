"""Every fold, alone and together, over random configurations: float64 equality, and what is refused with a reason."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compile.config import FoldMode
from compile.folding import EXACT_RELATIVE, apply_steps, fold_model, prove, restrict, rewrite
from compile.folds.base import Fold, Step, step_of
from compile.folds.composed import ComposedStage, DynamicSource, StaticSource, halve
from compile.folds.table import FOLDS
from tdss.backbones.vit import LayerScale
from tdss.config import ModelConfig, TdssConfig
from tdss.decoders.hrnet import resize
from tdss.model import MultiTaskModel
from tests.compile.folds.models import configs, make_config, make_image, make_model, outputs, relative

BOTH = TdssConfig(experts=4, rank=3, gates=(("static", "dynamic"), ("dynamic", "static", "static")))
QUICK = [HealthCheck.too_slow, HealthCheck.data_too_large]


def fold_all(model: MultiTaskModel) -> list[Step]:
    """Apply every rule wherever it may, in place, whatever it costs; return the plan."""
    steps = []
    for rule in FOLDS:
        for line in list(rule.candidates(model)):
            if line.decision == "folded":
                steps.append(Step(rule=rule.name, module=line.module, keep=line.keep, form=line.form))
                rule.apply(model, steps[-1])
    return steps


@settings(max_examples=40, deadline=None, suppress_health_check=QUICK, derandomize=True)
@given(configs, st.data())
def test_all_folds_together_are_exact_on_any_tasks(config: ModelConfig, data: st.DataObject) -> None:
    model, image = make_model(config), make_image(config)
    before = outputs(model, image)
    kept = data.draw(st.lists(st.sampled_from(list(config.tasks)), min_size=1, unique=True))
    folded = make_model(config)
    folded.keep(kept)
    assert relative(before, outputs(folded, image)) < EXACT_RELATIVE
    fold_all(folded)
    after = outputs(folded, image)
    assert set(after) == set(kept) and relative(before, after) < EXACT_RELATIVE


@settings(max_examples=6, deadline=None, suppress_health_check=QUICK, derandomize=True)
@given(configs, st.sampled_from(["all", "cost"]))
def test_what_is_taken_never_costs_more(config: ModelConfig, mode: FoldMode) -> None:
    model, image = make_model(config), make_image(config)
    before = outputs(model, image)
    folded, records = rewrite(model, image.shape, mode=mode)
    assert relative(before, outputs(folded, image)) < EXACT_RELATIVE
    assert relative(before, outputs(model, image)) == 0.0  # the model given is untouched
    assert all(record.reason for record in records)
    if mode == "all":
        assert all(r.macs_after <= r.macs_before and r.bytes_after <= r.bytes_before for r in records)
    replayed = MultiTaskModel(config).eval()
    apply_steps(replayed, [step_of(record) for record in records if record.decision == "folded"])
    shapes = {name: tensor.shape for name, tensor in folded.state_dict().items()}
    assert {name: tensor.shape for name, tensor in replayed.state_dict().items()} == shapes


@pytest.mark.parametrize("name", ["attention_scale", "layer_norm", "compose", "batch_norm", "layer_scale"])
def test_each_fold_alone(name: str) -> None:
    rule: Fold = next(rule for rule in FOLDS if rule.name == name)
    config = make_config(BOTH, vit_patch=4 if name == "layer_scale" else 0)
    model, image = make_model(config), make_image(config)
    before = outputs(model, image)
    chosen = [candidate for candidate in rule.candidates(model) if candidate.decision == "folded"]
    assert chosen
    for line in chosen:
        rule.apply(model, Step(rule=rule.name, module=line.module, form=line.form))
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE
    again = [candidate for candidate in rule.candidates(model) if candidate.decision == "folded"]
    assert not again  # idempotent: nothing is left to fold


def test_a_wrong_fold_would_be_seen() -> None:
    """The exactness check is not blind: one weight of a folded model moved by 1e-6 is over the bound."""
    config = make_config(BOTH)
    model, image = make_model(config), make_image(config)
    folded, _ = rewrite(model, image.shape, mode="all")
    with torch.no_grad():
        folded.get_submodule("adapter.stages.0.generic").weight[0, 0] += 1e-6
    assert relative(outputs(model, image), outputs(folded, image)) > EXACT_RELATIVE


def test_the_proof_has_both_errors_of_every_output_in_both_types() -> None:
    config = make_config(BOTH)
    model, image = make_model(config).float(), make_image(config)
    folded, _ = fold_model(model, image, mode="all")
    proof = prove(model, folded, image.float())
    for errors in (proof.float64, proof.float32, proof.float64_max_abs, proof.float32_max_abs):
        assert set(errors) == set(config.tasks)
    assert max(proof.float64.values()) <= EXACT_RELATIVE < max(proof.float32.values()) < 1e-4


def test_compose_merges_static_gates_and_builds_dynamic_ones_per_image() -> None:
    config = make_config(BOTH)
    folded = make_model(config)
    fold_all(folded)
    first = folded.adapter.get_submodule("stages.0")
    assert isinstance(first, ComposedStage)
    assert isinstance(first.sources["0_mlp"], StaticSource)
    assert isinstance(first.sources["1_mlp"], DynamicSource)
    static = first.sources["0_mlp"]
    assert static.mix.weight.shape == (6 * 3, 4 * 3)  # tasks·narrow × experts·rank


def test_layer_norm_is_kept_where_windows_are_padded() -> None:
    kept = kept_norms(make_config(BOTH, size=24))  # 6 tokens, windows of 4
    assert "padded with zeros" in kept["backbone.stages.0.blocks.0.norm1"]
    assert "residual" in kept["backbone.patch_embed.norm"]


def test_layer_norm_is_kept_where_biases_would_cost_more() -> None:
    kept = kept_norms(make_config(BOTH.model_copy(update={"experts": 8, "rank": 4})))  # 32 units beside a width of 8
    assert kept["backbone.stages.0.blocks.0.norm2"] == "new biases take 32 parameters, the affine part frees 16"


def kept_norms(config: ModelConfig) -> dict[str, str]:
    rule = next(rule for rule in FOLDS if rule.name == "layer_norm")
    return {line.module: line.reason for line in rule.candidates(make_model(config)) if line.decision == "kept"}


def test_halving_is_the_decoders_resize() -> None:
    x = torch.randn(2, 6, 8, 3, dtype=torch.float64)
    resized = resize(x.permute(0, 3, 1, 2), (3, 4)).permute(0, 2, 3, 1)
    assert torch.allclose(halve(x), resized, rtol=0, atol=1e-15)


def test_a_vit_keeps_no_scale_and_no_affine_part() -> None:
    config = make_config(BOTH.model_copy(update={"experts": 1}), vit_patch=4)
    folded, records = rewrite(make_model(config), make_image(config).shape, mode="all")
    assert not [module for module in folded.modules() if isinstance(module, LayerScale)]
    assert {record.decision for record in records if record.rule in ("layer_scale", "attention_scale")} == {"folded"}
    assert [record.module for record in records if record.decision == "kept"] == []


def test_mode_none_folds_nothing() -> None:
    config = make_config(BOTH)
    model, image = make_model(config), make_image(config)
    folded, records = rewrite(model, image.shape, mode="none")
    assert records == []
    assert relative(outputs(model, image), outputs(folded, image)) == 0.0


def test_a_subset_says_what_it_saves() -> None:
    config = make_config(BOTH)
    model = make_model(config)
    kept, [line] = restrict(model, ("depth", "semseg"), make_image(config).shape)
    assert tuple(kept.config.tasks) == ("semseg", "depth") and kept.config.name == "small-semseg-depth"
    assert line.form == "semseg,depth" and "human_parts" in line.reason
    assert line.macs_after < line.macs_before and line.params_after < line.params_before
    assert not [name for name in kept.state_dict() if "edge" in name]
    assert restrict(model, tuple(config.tasks), make_image(config).shape)[1] == []
