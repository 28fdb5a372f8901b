"""A layer norm's affine part in its readers: y = W (w ⊙ n̂ + β) + b, with NumPy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compile.folds.base import Step
from compile.folds.compose import FoldCompose
from compile.folds.freeze_gate import DropSkills
from compile.folds.layer_norm import FoldLayerNorm
from compile.folds.low_rank import FoldLowRank
from compile.folds.merged_downsampler import FoldMergedDownsampler
from compile.module_folds import EXACT_RELATIVE
from tdss.config import ModelConfig, MtloraConfig, SsfConfig, TdssConfig
from tdss.model import MultiTaskModel
from tests.compile.folds.applied import change, few, fold_exactly, fold_with, reasons, refuses
from tests.compile.folds.models import TASKS, adapted, configs, make_config, make_model, mtloras
from tests.compile.folds.oracle import TIGHT, Array, affine, array, draw, far, normed

RULE = FoldLayerNorm()
SMALL = TdssConfig(experts=1, rank=2, gates=(("static", "dynamic"), ("dynamic",)))
BOTH = SMALL.model_copy(update={"insertion": "both"})
ONE = ("depth",)
BLOCK = "backbone.stages.0.blocks.1"
BANKS = "adapter.stages.0.blocks.1.banks"
READERS = {
    f"{BLOCK}.norm1": (f"{BLOCK}.attn.qkv", f"{BANKS}.attention.down", f"{BANKS}.attention.gate.logits"),
    f"{BLOCK}.norm2": (f"{BLOCK}.mlp.fc1", f"{BANKS}.mlp.down", f"{BANKS}.mlp.gate.logits"),
}


def expected(model: MultiTaskModel, norm: str, x: Array) -> Array:
    """w ⊙ n̂ + β."""
    module = model.get_submodule(norm)
    assert isinstance(module, nn.LayerNorm)
    result: Array = normed(x, module.eps) * array(module.weight) + array(module.bias)
    return result


def check(model: MultiTaskModel, readers: dict[str, tuple[str, ...]], rule: FoldLayerNorm = RULE) -> None:
    """Fold, and compare what every reader answers behind its norm with the equation."""
    inputs = {norm: draw(2, 3, *model.get_submodule(norm).normalized_shape) for norm in readers}  # type: ignore[union-attr,misc]
    values = {norm: expected(model, norm, array(x)) for norm, x in inputs.items()}
    want = {path: affine(values[norm], model.get_submodule(path)) for norm, paths in readers.items() for path in paths}  # type: ignore[arg-type]
    folded = {step.module for step in fold_exactly(rule, model)}
    assert set(readers) <= folded
    for norm, paths in readers.items():
        assert list(model.get_submodule(norm).parameters()) == []
        for path in paths:
            assert far(want[path], model.get_submodule(path)(model.get_submodule(norm)(inputs[norm]))) < TIGHT


@pytest.mark.parametrize("patch", [0, 4])
def test_every_reader_of_a_blocks_norm_takes_its_affine_part(patch: int) -> None:
    check(make_model(make_config(BOTH, tasks=ONE, vit_patch=patch)), READERS)


def test_a_mergings_norm_goes_into_its_reduction() -> None:
    model = make_model(make_config(SMALL.model_copy(update={"tsai": "off"})))
    check(model, {"backbone.stages.0.downsample.norm": ("backbone.stages.0.downsample.reduction",)})


def test_a_mergings_norm_goes_into_the_downsamplers_that_read_it_too() -> None:
    model = make_model(adapted(MtloraConfig(kind="mtlora", rank=2)))
    for rule in (FoldLowRank(), FoldMergedDownsampler()):
        fold_with(rule, model)
    own = tuple(f"decoders.{task}.downsamplers.0" for task in TASKS)
    norm = "backbone.stages.0.downsample.norm"
    assert reasons(RULE, model, "folded")[norm] == "all its 7 readers are linear"
    check(model, {norm: ("backbone.stages.0.downsample.reduction", *own)})


@few(10)
@given(configs | mtloras)
def test_any_model_answers_the_same(config: ModelConfig) -> None:
    model = make_model(config)
    fold_with(FoldLowRank(), model)
    assert change(RULE, model) < EXACT_RELATIVE


@few(8)
@given(st.sampled_from([24, 32, 40]), st.integers(1, 8), st.integers(1, 4))
def test_what_is_taken_never_adds_parameters(size: int, experts: int, rank: int) -> None:
    base = BOTH.model_copy(update={"experts": experts, "rank": rank})
    model = make_model(make_config(base, size=size))
    before = sum(parameter.numel() for parameter in model.parameters())
    fold_with(RULE, model)
    assert sum(parameter.numel() for parameter in model.parameters()) <= before


def test_a_gate_that_lost_skills_is_still_a_reader() -> None:
    model = make_model(make_config(SMALL.model_copy(update={"experts": 2})))
    DropSkills().apply(model, Step(rule="drop_skills", module=f"{BANKS}.mlp", keep=(1,)))
    check(model, {f"{BLOCK}.norm2": (f"{BLOCK}.mlp.fc1", f"{BANKS}.mlp.down", f"{BANKS}.mlp.gate.gate.logits")})


def test_it_is_kept_where_windows_are_padded() -> None:
    model = make_model(make_config(BOTH, size=24))  # 6 tokens, windows of 4
    kept, folded = reasons(RULE, model, "kept"), reasons(RULE, model, "folded")
    assert kept[f"{BLOCK}.norm1"] == "windows are padded with zeros after the norm"
    assert f"{BLOCK}.norm2" in folded  # the MLP sees no padding


def test_a_last_block_with_streams_is_padded_too() -> None:
    model = make_model(adapted(MtloraConfig(kind="mtlora", rank=2), size=24))
    norm = "backbone.stages.0.blocks.1.block.norm1"
    assert reasons(RULE, model, "kept")[norm] == "windows are padded with zeros after the norm"


def test_it_is_kept_where_it_feeds_the_residual_stream() -> None:
    kept = reasons(RULE, make_model(make_config(SMALL)), "kept")
    assert kept == {"backbone.patch_embed.norm": "it feeds the residual stream"}
    refuses(RULE, make_model(make_config(SMALL)), "backbone.patch_embed.norm", "is no LayerNorm that linears read")


def test_it_is_kept_where_biases_would_cost_more() -> None:
    model = make_model(make_config(SMALL.model_copy(update={"experts": 8, "rank": 4})))  # 32 units, a width of 8
    assert reasons(RULE, model, "kept")[f"{BLOCK}.norm2"] == ("new biases take 32 parameters, the affine part frees 16")


def test_it_is_kept_where_the_tasks_own_streams_pass_it() -> None:
    model = make_model(adapted(MtloraConfig(kind="mtlora", rank=2)))
    norm = "backbone.stages.1.blocks.0.block.norm2"
    assert reasons(RULE, model, "kept")[norm] == "it norms the tasks' own streams too"
    refuses(RULE, model, norm, "is no LayerNorm that linears read")


@pytest.mark.parametrize("adapter", [MtloraConfig(kind="mtlora", rank=2), SsfConfig(kind="ssf")])
def test_it_is_kept_where_a_reader_is_adapted(adapter: MtloraConfig | SsfConfig) -> None:
    model = make_model(adapted(adapter))
    norm = "backbone.stages.0.blocks.0.norm2"
    assert reasons(RULE, model, "kept")[norm] == "backbone.stages.0.blocks.0.mlp.fc1 is no plain linear"
    refuses(RULE, model, norm, "mlp.fc1 is no Linear")


@pytest.mark.parametrize("tsai", ["static", "dynamic"])
def test_it_is_kept_where_the_skills_that_read_it_were_composed(tsai: str) -> None:
    """Their linears are in a composed stage then: folding for the block's own readers alone would be wrong."""
    model = make_model(make_config(BOTH.model_copy(update={"tsai": tsai})))
    fold_with(FoldCompose(), model)
    kept = reasons(RULE, model, "kept")
    assert kept[f"{BLOCK}.norm1"] == kept[f"{BLOCK}.norm2"] == "the skills that read it were composed already"
    assert list(reasons(RULE, model, "folded")) == ["backbone.stages.0.downsample.norm"]
    assert change(RULE, model) < EXACT_RELATIVE


def test_a_norm_without_an_affine_part_is_no_site() -> None:
    model = make_model(make_config(SMALL))
    fold_with(RULE, model)
    assert list(reasons(RULE, model, "kept")) == ["backbone.patch_embed.norm"]
    assert reasons(RULE, model, "folded") == {}


@pytest.mark.parametrize("module", [f"{BLOCK}.mlp", "decoders.depth.head.norm"])
def test_another_module_is_refused(module: str) -> None:
    refuses(RULE, make_model(make_config(SMALL)), module, "is no LayerNorm that linears read")


def test_a_reader_that_is_gone_is_refused_before_anything_changes() -> None:
    model = make_model(make_config(SMALL))
    model.get_submodule(BANKS).mlp.down = nn.Identity()  # type: ignore[union-attr]
    assert reasons(RULE, model, "kept")[f"{BLOCK}.norm2"] == f"{BANKS}.mlp.down is no plain linear"
    refuses(RULE, model, f"{BLOCK}.norm2", "down is no Linear")
    with pytest.raises(AttributeError):
        RULE.apply(model, Step(rule=RULE.name, module="backbone.stages.9.norm1"))
