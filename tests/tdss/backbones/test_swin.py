"""Our Swin against HF transformers' Swin, on random weights, in every published key layout."""

import os

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from bundle.base.errors import CheckpointError
from tdss.backbones.base import Flow
from tdss.backbones.config import ImageConfig, SwinConfig
from tdss.backbones.swin import Swin, partition, shift_mask, unpartition
from tdss.backbones.swin_keys import detect_layout, from_published, resize_table

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
    swin.load_state_dict(from_published(weights, config.window).tensors)
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
    ours, left, _ = from_published(memory, 4)
    assert left == ("layernorm.weight", "layernorm.bias")
    assert set(ours) == set(Swin(config, ImageConfig(height=64, width=64)).state_dict())
    official = official_of(ours)
    official |= {"head.weight": torch.zeros(2, 2), "layers.0.blocks.1.attn_mask": torch.zeros(1)}
    timm = {key.replace("layers.0.downsample", "layers.1.downsample"): tensor for key, tensor in official.items()}
    wrapped = {f"module.{key}": tensor for key, tensor in official.items()}
    for name, weights in (("official", official), ("timm", timm), ("hf", published_hf(memory)), ("wrapped", wrapped)):
        got = from_published(weights, 4).tensors
        assert set(got) == set(ours), name
        assert all(torch.equal(got[key], ours[key]) for key in ours), name


def official_of(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give our names the form of the official release."""
    names = {key: f"layers.{key.removeprefix('stages.')}" if key.startswith("stages.") else key for key in ours}
    return {names[key].replace("bias_table", "relative_position_bias_table"): x for key, x in ours.items()}


@pytest.mark.parametrize(
    "prefix", ["module.", "backbone.", "model.", "encoder.", "student.", "module.teacher.backbone.", "net.encoder."]
)
def test_the_prefix_of_the_backbone_is_that_of_its_patch_embedding(prefix: str) -> None:
    memory = hf_swin(PRESETS["tiny"], 64).state_dict()
    ours = from_published(memory, 4).tensors
    for weights in (official_of(ours), memory, published_hf(memory)):
        outside = {"classifier.weight": torch.zeros(2, 2), "decoder.0.weight": torch.zeros(2)}
        got = from_published({f"{prefix}{key}": tensor for key, tensor in weights.items()} | outside, 4)
        assert set(got.tensors) == set(ours) and set(outside) <= set(got.left)
        assert all(torch.equal(got.tensors[key], ours[key]) for key in ours)


def test_of_a_teacher_and_a_student_the_teacher_is_read() -> None:
    teacher = official_of(from_published(hf_swin(PRESETS["tiny"], 64).state_dict(), 4).tensors)
    both = {f"student.{key}": tensor + 1 for key, tensor in teacher.items()}
    both |= {f"teacher.{key}": tensor for key, tensor in teacher.items()}
    got = from_published(both, 4)
    assert torch.equal(got.tensors["patch_embed.proj.weight"], teacher["patch_embed.proj.weight"])
    assert set(got.left) == {f"student.{key}" for key in teacher}


def resized_by_onnx(table: np.ndarray, side: int) -> np.ndarray:
    """Resize ``[heads, n, n]`` by ONNX's own reference of its operator Resize, with the coefficient of Keys' kernel."""
    parts = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")}
    node = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="cubic", cubic_coeff_a=-0.75)
    sizes = numpy_helper.from_array(np.array([1, len(table), side, side]), "sizes")
    graph = helper.make_graph([node], "resize", [parts["x"]], [parts["y"]], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    return np.asarray(ReferenceEvaluator(model).run(None, {"x": table[None]})[0][0])


@pytest.mark.parametrize("window", [3, 6, 7])
def test_position_tables_of_another_window_are_resized_bicubically(window: int) -> None:
    weights = hf_swin(PRESETS["tiny"], 64).state_dict()
    before, after = from_published(weights, 4), from_published(weights, window)
    tables = [name for name in before.tensors if name.endswith("bias_table")]
    assert before.resized == () and list(after.resized) == tables and len(tables) == 4
    for name in tables:
        square = before.tensors[name].T.reshape(-1, 7, 7).numpy()
        want = resized_by_onnx(square, 2 * window - 1)
        got = after.tensors[name].T.reshape(want.shape).numpy()
        assert np.abs(got - want).max() < 1e-5
    swin = Swin(PRESETS["tiny"].model_copy(update={"window": window}), ImageConfig(height=64, width=64))
    assert {name: x.shape for name, x in swin.state_dict().items()} == {
        name: x.shape for name, x in after.tensors.items()
    }


@pytest.mark.parametrize("table", [torch.zeros(48, 2), torch.zeros(49), torch.zeros(49, 2, dtype=torch.int16)])
def test_what_is_no_position_table_is_not_resized(table: Tensor) -> None:
    assert resize_table(table, 6) is table


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
