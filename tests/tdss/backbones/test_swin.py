"""Our Swin against HF transformers' Swin, on random weights, in every published key layout."""

import os

import pytest
import torch
from torch import Tensor

from bundle.base.errors import CheckpointError
from tdss.backbones.base import Flow
from tdss.backbones.config import ImageConfig, SwinConfig
from tdss.backbones.swin import Swin, partition, shift_mask, unpartition
from tdss.backbones.swin_keys import detect_layout, from_published

os.environ["HF_HUB_OFFLINE"] = "1"
PARITY = 1e-5  # the bound of issue 2, float32
PRESETS = {
    "tiny": SwinConfig(embed_dim=24, depths=(2, 2), heads=(2, 4), window=4),
    "three stages, 7 windows": SwinConfig(embed_dim=24, depths=(2, 2, 2), heads=(2, 4, 8), window=7),
}


def hf_swin(config: SwinConfig, size: int) -> torch.nn.Module:
    from transformers import SwinConfig as HfConfig
    from transformers import SwinModel

    torch.manual_seed(3)
    hf = SwinModel(
        HfConfig(
            image_size=size,
            embed_dim=config.embed_dim,
            depths=list(config.depths),
            num_heads=list(config.heads),
            window_size=config.window,
            drop_path_rate=0.0,
            mlp_ratio=config.mlp_ratio,
        ),
        add_pooling_layer=False,
    )
    for parameter in hf.parameters():
        torch.nn.init.normal_(parameter, std=0.2 if parameter.dim() == 1 else 0.1)
    return hf.eval()


def ours_from(weights: dict[str, Tensor], config: SwinConfig, size: int) -> Swin:
    swin = Swin(config, ImageConfig(height=size, width=size)).eval()
    swin.load_state_dict(from_published(weights)[0])
    return swin


def published_hf(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give in-memory names the form they have in the published files."""
    names = (
        (".attention.q_proj.", ".attention.self.query."),
        (".attention.k_proj.", ".attention.self.key."),
        (".attention.v_proj.", ".attention.self.value."),
        (".attention.o_proj.", ".attention.output.dense."),
        (".attention.relative_position_bias.", ".attention.self."),
        (".mlp.fc1.", ".intermediate.dense."),
        (".mlp.fc2.", ".output.dense."),
    )
    renamed = {}
    for key, tensor in weights.items():
        for ours, theirs in names:
            key = key.replace(ours, theirs)
        renamed[f"swin.{key}"] = tensor
    return renamed


# 60 and 116 give odd maps: padded windows, and a merging that pads. In 112 the last map is one window.
@pytest.mark.parametrize(
    ("preset", "size"), [("tiny", 60), ("tiny", 64), ("three stages, 7 windows", 112), ("three stages, 7 windows", 116)]
)
def test_equals_hf_swin(preset: str, size: int) -> None:
    config = PRESETS[preset]
    hf = hf_swin(config, size)
    image = torch.randn(2, 3, size, size)
    with torch.no_grad():
        theirs = hf(image, output_hidden_states=True).reshaped_hidden_states
        ours = ours_from(hf.state_dict(), config, size)(image)
    # HF's hidden states lie after each merging; ours before it. Compare where they meet: the embedding
    # and merging are inside, since every later state depends on them.
    last = ours[-1].output.permute(0, 3, 1, 2)
    assert (last - theirs[-1]).abs().max() / theirs[-1].abs().max() < PARITY
    merged = [ours_merge(hf, config, size, image, stage) for stage in range(len(config.depths) - 1)]
    for mine, their in zip(merged, theirs[1:], strict=False):
        assert (mine - their).abs().max() / their.abs().max() < PARITY


def ours_merge(hf: torch.nn.Module, config: SwinConfig, size: int, image: Tensor, stage: int) -> Tensor:
    swin = ours_from(hf.state_dict(), config, size)
    with torch.no_grad():
        x = swin.patch_embed(image)
        for number in range(stage + 1):
            x = swin.stages[number](Flow(x, {}))[0].x
    return x.permute(0, 3, 1, 2)


def test_every_layout_gives_the_same_weights() -> None:
    config = PRESETS["tiny"]
    memory = hf_swin(config, 64).state_dict()
    ours, left = from_published(memory)
    assert left == ("layernorm.weight", "layernorm.bias")
    assert set(ours) == set(Swin(config, ImageConfig(height=64, width=64)).state_dict())
    official = {
        f"layers.{key.removeprefix('stages.')}".replace("bias_table", "relative_position_bias_table")
        if key.startswith("stages.")
        else key: tensor
        for key, tensor in ours.items()
    }
    official |= {"head.weight": torch.zeros(2, 2), "layers.0.blocks.1.attn_mask": torch.zeros(1)}
    timm = {key.replace("layers.0.downsample", "layers.1.downsample"): tensor for key, tensor in official.items()}
    wrapped = {f"module.{key}": tensor for key, tensor in official.items()}
    for name, weights in (("official", official), ("timm", timm), ("hf", published_hf(memory)), ("wrapped", wrapped)):
        got, _ = from_published(weights)
        assert set(got) == set(ours), name
        assert all(torch.equal(got[key], ours[key]) for key in ours), name


def test_foreign_weights_are_refused() -> None:
    with pytest.raises(CheckpointError, match="not the weights of a published Swin"):
        detect_layout({"conv1.weight", "fc.weight"})


@pytest.mark.parametrize(
    ("preset", "parameters"),
    # Swin-T/S/B without classifier and last norm: the published 28.29/49.61/87.77 M less
    # 1000·(d+1) of the classifier and 2d of the norm.
    [
        (SwinConfig(embed_dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)), 28_288_354 - 769_000 - 1_536),
        (SwinConfig(embed_dim=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24)), 49_606_258 - 769_000 - 1_536),
        (SwinConfig(embed_dim=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32)), 87_768_224 - 1_025_000 - 2_048),
    ],
    ids=["T", "S", "B"],
)
def test_published_parameter_counts(preset: SwinConfig, parameters: int) -> None:
    with torch.device("meta"):
        swin = Swin(preset, ImageConfig(height=224, width=224))
    assert sum(parameter.numel() for parameter in swin.parameters()) == parameters


def test_partition_round_trip() -> None:
    x = torch.randn(2, 8, 12, 3)
    assert torch.equal(unpartition(partition(x, 4), 4, 8, 12), x)


def test_shift_mask_separates_what_the_shift_joined() -> None:
    mask = shift_mask(8, 8, 4, 2)
    assert mask.shape == (4, 16, 16)
    assert not mask[0].any()  # the first window holds one region
    corner = mask[3] == 0  # the last holds four, of 4 tokens each
    assert corner.sum(1).tolist() == [4] * 16
