"""All folds together over random configurations, and what runs them; each rule has a file of its own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bundle.errors import CheckpointError
from compile.config import FoldMode
from compile.folds.base import step_of
from compile.folds.compose import FoldCompose
from compile.folds.table import APPROXIMATE, FOLDS, fold_named
from compile.folds.training_only import FoldTrainingOnly
from compile.module_folds import EXACT_RELATIVE, apply_steps, prove, rewrite
from tdss.adapters.lora import LoraLinear, ScaledLinear
from tdss.backbones.swin import DropPath
from tdss.backbones.vit import LayerScale
from tdss.config import HrnetConfig, ModelConfig, SsfConfig, TdssConfig
from tdss.linears import set_module
from tdss.model import MultiTaskModel
from tests.compile.folds.applied import few, fold_all
from tests.compile.folds.models import (
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

BOTH = TdssConfig(experts=4, rank=3, gates=(("static", "dynamic"), ("dynamic", "static", "static")))
ssfs = st.builds(adapted, st.just(SsfConfig(kind="ssf")), tasks=subsets, vit_patch=st.sampled_from([0, 4]))


@few(50)
@given(configs | configs | mtloras | ssfs, st.data())
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
    assert not [part for part in folded.modules() if isinstance(part, LoraLinear | ScaledLinear)]
    assert fold_all(folded) == []  # nothing is left, and no rule mistakes what another one made


@few(6)
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


def test_a_wrong_fold_would_be_seen() -> None:
    """The exactness check is not blind: one weight of a folded model moved by 1e-6 is over the bound."""
    config = make_config(BOTH)
    model, image = make_model(config), make_image(config)
    folded, _ = rewrite(model, image.shape, mode="all")
    with torch.no_grad():
        folded.get_submodule("adapter.stages.0.generic").weight[0, 0] += 1e-6
    assert relative(outputs(model, image), outputs(folded, image)) > EXACT_RELATIVE
    with pytest.raises(CheckpointError, match="folding changed what the model computes") as refused:
        prove(model.float(), folded, image.float())
    assert refused.value.expected == f"relative difference ≤ {EXACT_RELATIVE:g} in float64"


def test_what_does_not_pay_is_kept_with_the_reason() -> None:
    """A drop path costs nothing at inference; 64 narrow channels beside a width of 16 add MACs to a composition."""
    config = make_config(BOTH).model_copy(update={"decoder": HrnetConfig(widths=(3, 64), hidden=7)})
    dropping = config.backbone.model_copy(update={"drop_path": 0.2})
    model, shape = make_model(config.model_copy(update={"backbone": dropping})), make_image(config).shape
    folded, records = rewrite(model, shape, mode="cost", rules=(FoldTrainingOnly(), FoldCompose()))
    kept = [line for line in records if line.decision == "kept"]
    why = {line.module: line.reason for line in kept}
    assert why["backbone.stages.0.blocks.1.drop_path"] == "it does not pay: nothing is saved"
    assert why["adapter.stages.1"].startswith("it does not pay: ") and "adapter.stages.0" not in why
    assert all((line.macs_before, line.bytes_before) == (line.macs_after, line.bytes_after) for line in kept)
    assert isinstance(folded.get_submodule("backbone.stages.0.blocks.1.drop_path"), DropPath)


def test_the_proof_has_both_errors_of_every_output_in_both_types() -> None:
    config = make_config(BOTH)
    model, image = make_model(config).float(), make_image(config)
    folded, _ = rewrite(model, image.shape, mode="all")
    proof = prove(model, folded, image.float())
    for errors in (proof.float64, proof.float32, proof.float64_max_abs, proof.float32_max_abs):
        assert set(errors) == set(config.tasks)
    assert max(proof.float64.values()) <= EXACT_RELATIVE < max(proof.float32.values()) < 1e-4


@pytest.mark.parametrize("task", ["first", "last"])
def test_an_output_that_is_not_a_number_fails_the_proof_wherever_it_stands(task: str) -> None:
    config = make_config(BOTH)
    model, image = make_model(config).float(), make_image(config)
    folded, _ = rewrite(model, image.shape, mode="all")
    name = list(config.tasks)[0 if task == "first" else -1]
    with torch.no_grad():
        next(folded.decoders[name].parameters()).fill_(float("nan"))
    with pytest.raises(CheckpointError, match="folding changed") as caught:
        prove(model, folded, image.float())
    assert caught.value.got == f"nan on {name}"


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


def test_every_rule_is_found_by_the_name_a_plan_gives_it() -> None:
    rules = (*FOLDS, *APPROXIMATE)
    assert len({rule.name for rule in rules}) == len(rules)
    assert all(fold_named(rule.name) is rule for rule in rules)
    with pytest.raises(KeyError):
        fold_named("task_subset")  # folding.py applies it before any rule


def test_every_rule_states_its_algebra() -> None:
    """The module docstring has what was and what is, in lines of their own."""
    for rule in (*FOLDS, *APPROXIMATE):
        stated = __import__(type(rule).__module__, fromlist=["__doc__"]).__doc__ or ""
        assert "\n    before " in stated and "\n    after " in stated, rule.name


def test_a_module_is_replaced_where_its_path_says() -> None:
    model = nn.Sequential(nn.Sequential(nn.ReLU()), nn.ReLU())
    for path in ("0.0", "1"):
        set_module(model, path, nn.Identity())
    assert [type(part) for part in (model[0], model.get_submodule("0.0"), model[1])] == [
        nn.Sequential,
        nn.Identity,
        nn.Identity,
    ]
