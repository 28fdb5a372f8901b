"""Folds of adapters that act inside the backbone's linears: low rank, scale and shift, merged downsamplers."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compile.folding import EXACT_RELATIVE, rewrite
from compile.folds.table import FOLDS
from tdss.adapters.lora import LoraLinear, ScaledLinear
from tdss.config import ModelConfig, MtloraConfig, SsfConfig, TdssConfig
from tests.compile.folds.models import make_config, make_image, make_model, outputs, relative, subsets
from tests.compile.folds.test_folds import fold_all

SHAPE_ONLY = TdssConfig(experts=1, rank=1, gates=(("static", "static"), ("static",)))  # depths 2 and 1


def adapted(adapter: MtloraConfig | SsfConfig, **options: object) -> ModelConfig:
    plain = make_config(SHAPE_ONLY, **options)  # type: ignore[arg-type]
    return ModelConfig.model_validate(plain.model_dump() | {"adapter": adapter.model_dump()})


mtloras = st.builds(
    MtloraConfig,
    kind=st.just("mtlora"),
    rank=st.integers(1, 4),
    task_rank=st.integers(1, 3),
    scale=st.floats(0.5, 4),
    reduction=st.booleans(),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(mtloras, subsets, st.sampled_from([24, 32, 44]))
def test_mtlora_folds_exactly(adapter: MtloraConfig, tasks: tuple[str, ...], size: int) -> None:
    config = adapted(adapter, tasks=tasks, size=size)
    model, image = make_model(config), make_image(config)
    before = outputs(model, image)
    fold_all(model)
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE
    assert not [module for module in model.modules() if isinstance(module, LoraLinear)]


@pytest.mark.parametrize("patch", [0, 4])
def test_scale_and_shift_fold_exactly(patch: int) -> None:
    config = adapted(SsfConfig(kind="ssf"), vit_patch=patch)
    model, image = make_model(config), make_image(config)
    before = outputs(model, image)
    assert [module for module in model.modules() if isinstance(module, ScaledLinear)]
    fold_all(model)
    assert relative(before, outputs(model, image)) < EXACT_RELATIVE
    assert not [module for module in model.modules() if isinstance(module, ScaledLinear)]


def test_what_reads_two_streams_is_kept_and_everything_pays() -> None:
    config = adapted(MtloraConfig(kind="mtlora", rank=2, reduction=True))
    model, image = make_model(config), make_image(config)
    folded, records = rewrite(model, image.shape, mode="all")
    assert relative(outputs(model, image), outputs(folded, image)) < EXACT_RELATIVE
    kept = {line.module: line.reason for line in records if line.rule == "low_rank" and line.decision == "kept"}
    assert set(kept) == {
        f"backbone.stages.{stage}.blocks.{last}.{part}"
        for stage, last in ((0, 1), (1, 0))
        for part in ("fc1", "fc2", "block.attn.proj.streams")
    }
    assert "shared stream" in kept["backbone.stages.0.blocks.1.fc1"]
    [merged] = [line for line in records if line.rule == "merged_downsampler"]
    assert merged.decision == "folded" and merged.macs_after < merged.macs_before
    assert merged.bytes_after < merged.bytes_before


def test_a_merged_downsampler_is_found_once() -> None:
    config = adapted(MtloraConfig(kind="mtlora", rank=2))
    model = make_model(config)
    fold_all(model)
    rule = next(rule for rule in FOLDS if rule.name == "merged_downsampler")
    assert list(rule.candidates(model)) == []
