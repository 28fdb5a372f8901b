"""The attention scale in the query projection: logits (s·(W_q n + b_q))·k, with NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compile.folds.attention_scale import FoldAttentionScale
from compile.folds.base import Step
from compile.module_folds import EXACT_RELATIVE
from tdss.backbones.swin import WindowAttention
from tdss.backbones.vit import Attention
from tdss.config import ModelConfig, MtloraConfig, SsfConfig, TdssConfig
from tests.compile.folds.applied import change, few, fold_exactly, reasons, refuses
from tests.compile.folds.models import adapted, configs, make_config, make_model
from tests.compile.folds.oracle import TIGHT, Array, affine, array, draw, far, make_linear, softmax

RULE = FoldAttentionScale()
BASE = TdssConfig(experts=2, rank=2, gates=(("static", "dynamic"), ("dynamic",)))


def attention(x: Array, qkv: nn.Linear, proj: nn.Linear, heads: int, bias: Array) -> Array:
    """Multi-head attention with the scale head_dim^−½ and ``bias`` ``[heads, tokens, tokens]`` added to the logits."""
    count, tokens, dim = x.shape
    query, key, value = affine(x, qkv).reshape(count, tokens, 3, heads, -1).transpose(2, 0, 3, 1, 4)
    logits = np.einsum("bhid,bhjd->bhij", query, key) / np.sqrt(dim // heads)
    mixed = np.einsum("bhij,bhjd->bihd", softmax(logits + bias), value)
    return affine(mixed.reshape(count, tokens, dim), proj)


def relative_bias(table: Array, window: int) -> Array:
    """The bias of every pair of a window's positions, read from its table by their distance: ``[heads, tokens, tokens]``."""
    places = [(row, column) for row in range(window) for column in range(window)]
    side = 2 * window - 1
    rows = [[(a - c + window - 1) * side + b - d + window - 1 for c, d in places] for a, b in places]
    return table[np.array(rows)].transpose(2, 0, 1)


@pytest.mark.parametrize("patch", [0, 4])
def test_the_scale_of_every_attention_is_in_its_queries(patch: int) -> None:
    model = make_model(make_config(BASE, vit_patch=patch))
    paths = [path for path, part in model.named_modules() if isinstance(part, WindowAttention | Attention)]
    before = [
        (array(model.get_submodule(path).qkv.weight), array(model.get_submodule(path).qkv.bias)) for path in paths
    ]  # type: ignore[union-attr,arg-type]
    scales = [model.get_submodule(path).scale for path in paths]
    assert [step.module for step in fold_exactly(RULE, model)] == paths
    for path, (weight, bias), scale in zip(paths, before, scales, strict=True):
        folded = model.get_submodule(path)
        dim = weight.shape[1]
        gain = np.repeat([scale, 1.0, 1.0], dim)  # queries, keys, values
        assert folded.scale == 1.0
        assert far(gain[:, None] * weight, folded.qkv.weight) < TIGHT  # type: ignore[union-attr,arg-type]
        assert far(gain * bias, folded.qkv.bias) < TIGHT  # type: ignore[union-attr,arg-type]


@few(20)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_any_attention_is_that_of_the_equation(heads: int, depth: int, window: int, windowed: bool) -> None:
    dim, tokens = heads * depth, window * window
    module = WindowAttention(dim, heads, window) if windowed else Attention(dim, heads)
    module.qkv, module.proj = make_linear(dim, 3 * dim), make_linear(dim, dim, seed=5)
    bias = np.zeros((heads, tokens, tokens))
    if isinstance(module, WindowAttention):
        module.bias_table = nn.Parameter(draw(*module.bias_table.shape, seed=8))
        bias = relative_bias(array(module.bias_table), window)
    x = draw(3, tokens, dim, seed=9)
    want = attention(array(x), module.qkv, module.proj, heads, bias)
    RULE.apply(nn.ModuleDict({"site": module}), Step(rule=RULE.name, module="site"))  # type: ignore[arg-type]
    got = module(x, None) if isinstance(module, WindowAttention) else module(x)
    assert module.scale == 1.0 and far(want, got) < TIGHT


@few(6)
@given(configs)
def test_any_model_answers_the_same(config: ModelConfig) -> None:
    assert change(RULE, make_model(config)) < EXACT_RELATIVE


@pytest.mark.parametrize("adapter", [MtloraConfig(kind="mtlora", rank=2), SsfConfig(kind="ssf")])
def test_an_adapted_qkv_is_kept(adapter: MtloraConfig | SsfConfig) -> None:
    model = make_model(adapted(adapter))
    found = reasons(RULE, model, "kept")
    assert set(found.values()) == {"its qkv is no plain linear"} and reasons(RULE, model, "folded") == {}
    refuses(RULE, model, next(iter(found)), "is no plain linear")


def test_a_scale_of_one_is_kept() -> None:
    """Heads of width 1 have the scale 1^−½ from the beginning."""
    plain = make_config(BASE)
    model = make_model(plain.model_copy(update={"backbone": plain.backbone.model_copy(update={"heads": (8, 4)})}))
    assert set(reasons(RULE, model, "kept")) == {f"backbone.stages.0.blocks.{block}.attn" for block in (0, 1)}
    assert set(reasons(RULE, model, "kept").values()) == {"the scale is 1 already"}
    assert list(reasons(RULE, model, "folded")) == ["backbone.stages.1.blocks.0.attn"]


def test_another_module_is_refused() -> None:
    refuses(RULE, make_model(make_config(BASE)), "backbone.stages.0.blocks.0.mlp", "is no attention")
