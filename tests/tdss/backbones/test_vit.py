"""Our vision transformer against HF transformers' Dinov2, on random weights, in every published key layout."""

import os
import re

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bundle.base.errors import CheckpointError
from tdss.backbones.config import ImageConfig, VitConfig
from tdss.backbones.vit import Vit
from tdss.backbones.vit_keys import from_published, resize_kernel, resize_positions

os.environ["HF_HUB_OFFLINE"] = "1"
PARITY = 1e-5
CONFIG = VitConfig(kind="vit", dim=24, depths=(1, 2), heads=3, patch=14)
GRID = (4, 4)


@pytest.fixture(scope="module")
def hf() -> torch.nn.Module:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(2)
    model = Dinov2Model(
        Dinov2Config(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, image_size=56, patch_size=14)
    )
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def test_equals_hf_dinov2(hf: torch.nn.Module) -> None:
    ours = Vit(CONFIG, ImageConfig(height=56, width=56)).eval()
    ours.load_state_dict(from_published(hf.state_dict(), CONFIG.depths, GRID).tensors)
    image = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        states = hf(image, output_hidden_states=True).hidden_states
        stages = ours(image)
    for stage, state in zip(stages, (states[1], states[3]), strict=True):
        want = state[:, 1:].unflatten(1, GRID)
        assert (stage.output - want).abs().max() / want.abs().max() < PARITY


def original(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give HF's in-memory names the form of the original release."""
    renamed = {}
    for key, tensor in weights.items():
        key = re.sub(r"^encoder\.layer\.", "blocks.", key)
        key = re.sub(r"layer_scale(\d)\.lambda1", r"ls\1.gamma", key).replace("attention.o_proj", "attn.proj")
        renamed[key] = tensor
    for block in range(3):
        for kind in ("weight", "bias"):
            parts = [renamed.pop(f"blocks.{block}.attention.{part}_proj.{kind}") for part in "qkv"]
            renamed[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(parts)
    names = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.mask_token": "mask_token",
        "layernorm.weight": "norm.weight",
        "layernorm.bias": "norm.bias",
        "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
        "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    }
    return {names.get(key, key): tensor for key, tensor in renamed.items()}


def published(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give HF's in-memory names the form of its published files."""
    renamed = {}
    for key, tensor in weights.items():
        for part, name in (("q", "query"), ("k", "key"), ("v", "value")):
            key = key.replace(f"attention.{part}_proj", f"attention.attention.{name}")
        renamed[f"dinov2.{key.replace('attention.o_proj', 'attention.output.dense')}"] = tensor
    return renamed


def test_every_layout_gives_the_same_weights(hf: torch.nn.Module) -> None:
    memory = hf.state_dict()
    ours, left, _ = from_published(memory, CONFIG.depths, GRID)
    assert set(left) == {"embeddings.mask_token", "layernorm.weight", "layernorm.bias"}
    assert set(ours) == set(Vit(CONFIG, ImageConfig(height=56, width=56)).state_dict())
    for weights in (original(memory), published(memory)):
        got = from_published(weights, CONFIG.depths, GRID).tensors
        assert set(got) == set(ours)
        assert all(torch.equal(got[key], ours[key]) for key in ours)


def test_blocks_in_chunks_keep_their_numbers(hf: torch.nn.Module) -> None:
    """DINOv2's training code puts block 2 of chunks of two at ``blocks.1.2``: its number is that of the model."""
    weights = original(hf.state_dict())
    chunked = {
        re.sub(r"^blocks\.(\d+)", lambda m: f"blocks.{int(m[1]) // 2}.{m[1]}", key): weights[key] for key in weights
    }
    assert "blocks.1.2.attn.qkv.weight" in chunked
    ours = from_published(weights, CONFIG.depths, GRID).tensors
    for prefix in ("", "teacher.backbone."):
        named = {f"{prefix}{key}": tensor for key, tensor in chunked.items()}
        named |= {"teacher.dino_head.mlp.weight": torch.zeros(1)} if prefix else {}
        got = from_published(named, CONFIG.depths, GRID)
        assert got.tensors.keys() == ours.keys() and all(torch.equal(got.tensors[key], ours[key]) for key in ours)


def test_a_block_under_two_names_is_no_block(hf: torch.nn.Module) -> None:
    weights = original(hf.state_dict())
    weights["blocks.0.1.norm1.weight"] = weights["blocks.1.norm1.weight"] + 1
    got = from_published(weights, CONFIG.depths, GRID).tensors
    assert "blocks.0.1.norm1.weight" in got  # no model has this name: it is refused as unexpected


def plain_vit() -> torch.nn.Module:
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(4)
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 96}
    model = ViTModel(ViTConfig(image_size=56, patch_size=14, **sizes), add_pooling_layer=True)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def published_vit(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give in-memory names the form of HF's published files."""
    names = (
        (".o_proj.", ".output.dense."),
        (".q_proj.", ".attention.query."),
        (".k_proj.", ".attention.key."),
        (".v_proj.", ".attention.value."),
        (".mlp.fc1.", ".intermediate.dense."),
        (".mlp.fc2.", ".output.dense."),
    )
    renamed = {}
    for key, tensor in weights.items():
        for ours, theirs in names:
            key = key.replace(ours, theirs)
        renamed[f"vit.{key.replace('layers.', 'encoder.layer.')}"] = tensor
    return renamed | {"classifier.bias": torch.zeros(2)}


def timm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give in-memory names the form of timm and of the original release."""
    dinov2 = {
        key.replace("layers.", "encoder.layer.")
        .replace("layernorm_before", "norm1")
        .replace("layernorm_after", "norm2"): tensor
        for key, tensor in weights.items()
        if not key.startswith("pooler.")
    }
    return original(dinov2) | {"head.weight": torch.zeros(2, 2), "head.bias": torch.zeros(2)}


def test_a_plain_vit_without_layer_scale_equals_hf() -> None:
    hf = plain_vit()
    config = CONFIG.model_copy(update={"norm_eps": hf.config.layer_norm_eps})
    ours, image = Vit(config, ImageConfig(height=56, width=56)).eval(), torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        states = hf(image, output_hidden_states=True).hidden_states
    for layout in (dict, published_vit, timm):
        got = from_published(layout(hf.state_dict()), CONFIG.depths, GRID)
        assert got.resized == () and len(got.left) >= 3
        ours.load_state_dict(got.tensors)
        with torch.no_grad():
            stages = ours(image)
        for stage, state in zip(stages, (states[1], states[3]), strict=True):
            want = state[:, 1:].unflatten(1, GRID)
            assert (stage.output - want).abs().max() / want.abs().max() < PARITY


def test_a_layer_scale_that_one_block_lacks_is_missing(hf: torch.nn.Module) -> None:
    weights = {key: tensor for key, tensor in hf.state_dict().items() if not re.match(r".*\.1\.layer_scale1", key)}
    assert "stages.1.blocks.0.scale1.gain" not in from_published(weights, CONFIG.depths, GRID).tensors


def test_what_was_resized_is_named(hf: torch.nn.Module) -> None:
    assert from_published(hf.state_dict(), CONFIG.depths, (4, 4)).resized == ()
    assert from_published(hf.state_dict(), CONFIG.depths, (4, 6)).resized == ("positions",)


def test_positions_are_resized_as_the_class_token_stays() -> None:
    table = torch.randn(1, 17, 5)
    assert torch.equal(resize_positions(table, (4, 4)), table)
    resized = resize_positions(table, (8, 6))
    assert resized.shape == (1, 49, 5)
    assert torch.equal(resized[:, 0], table[:, 0])
    flat = torch.cat([torch.zeros(1, 1, 5), torch.ones(1, 16, 5)], 1)
    assert torch.allclose(resize_positions(flat, (5, 7))[:, 1:], torch.ones(1, 35, 5))


def test_wrong_weights_are_refused(hf: torch.nn.Module) -> None:
    with pytest.raises(CheckpointError, match="more blocks"):
        from_published(hf.state_dict(), (1, 1), GRID)
    with pytest.raises(CheckpointError, match="not the weights of a vision transformer"):
        from_published({"conv.weight": torch.zeros(1)}, (1, 2), GRID)


def test_registers_are_refused(hf: torch.nn.Module) -> None:
    weights = {**hf.state_dict(), "embeddings.register_tokens": torch.zeros(1, 4, 24)}
    for named in (weights, {f"dinov2.{key}": tensor for key, tensor in weights.items()}):
        with pytest.raises(CheckpointError, match="has registers") as caught:
            from_published(named, CONFIG.depths, GRID)
        assert "register_tokens" in caught.value.got


def enlarged(channel: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Enlarge a square map as bilinear interpolation with half-pixel centres does; NumPy keeps the edge's value outside."""
    side = len(channel)
    places = (np.arange(size) + 0.5) * side / size - 0.5
    rows = np.stack([np.interp(places, np.arange(side), row) for row in channel])
    return np.stack([np.interp(places, np.arange(side), column) for column in rows.T], 1)


@pytest.mark.parametrize("patch", [7, 8, 14])
def test_a_resized_patch_embedding_sees_what_the_published_one_sees_of_the_enlarged_patch(patch: int) -> None:
    draw = np.random.default_rng(0)
    kernel, pixels = draw.standard_normal((5, 3, 14, 14)), draw.standard_normal((3, patch, patch))
    resized = resize_kernel(torch.from_numpy(kernel), patch).double().numpy()
    seen = np.stack([enlarged(channel, 14) for channel in pixels])
    want = np.tensordot(kernel, seen, 3)
    assert np.abs(np.tensordot(resized, pixels, 3) - want).max() < 1e-5 * np.abs(want).max()  # the result is float32


def test_a_backbone_with_smaller_patches_takes_the_published_weights(hf: torch.nn.Module) -> None:
    config = CONFIG.model_copy(update={"patch": 7})
    published = Vit.translate(hf.state_dict(), config, ImageConfig(height=56, width=56))
    assert published.resized == ("positions", "patch_embed.weight")
    ours = Vit(config, ImageConfig(height=56, width=56))
    ours.load_state_dict(published.tensors)
    same = Vit.translate(hf.state_dict(), CONFIG, ImageConfig(height=56, width=56))
    assert same.resized == () and torch.equal(
        same.tensors["patch_embed.weight"], hf.state_dict()["embeddings.patch_embeddings.projection.weight"]
    )


@pytest.mark.parametrize("shape", [(1, 13, 5), (1, 1, 5), (17, 5)])
def test_a_position_table_of_no_square_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match="position table is not square"):
        resize_positions(torch.zeros(shape), (4, 4))


def test_small_dinov2_has_its_published_parameters() -> None:
    """ViT-S/14 at 518²: 22,056,576 in the release, less its last norm (2·384) and mask token (384)."""
    config = VitConfig(kind="vit", dim=384, depths=(3, 3, 3, 3), heads=6)
    with torch.device("meta"):
        vit = Vit(config, ImageConfig(height=518, width=518))
    assert sum(parameter.numel() for parameter in vit.parameters()) == 22_056_576 - 3 * 384


def test_a_position_table_of_integers_is_refused() -> None:
    with pytest.raises(CheckpointError, match="cannot be resized"):
        resize_positions(torch.ones(1, 5, 8, dtype=torch.int16), (3, 3))
