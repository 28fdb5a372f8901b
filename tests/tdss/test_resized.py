"""A checkpoint at another size than its own: HF transformers' backbones agree, what changes is said, the rest is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bundle.base.errors import CheckpointError, ConfigError
from compile.evaluation.eager import EagerModel
from tdss.backbones.config import ImageConfig, VitConfig
from tdss.backbones.swin import Swin
from tdss.backbones.swin_keys import from_published as swin_published
from tdss.backbones.vit import Vit
from tdss.backbones.vit_keys import from_published as vit_published
from tdss.backbones.vit_keys import resize_positions
from tdss.card import Card
from tdss.checkpoint import load, save
from tdss.config_file import checkpoint_digest
from tdss.model import MultiTaskModel
from tdss.resized import load_at
from tests.compile import made
from tests.tdss.backbones.test_swin import PRESETS, hf_swin

os.environ["HF_HUB_OFFLINE"] = "1"
VIT = VitConfig(kind="vit", dim=24, depths=(1, 2), heads=3, patch=14)
SMALL, OTHER = ImageConfig(height=56, width=56), ImageConfig(height=84, width=42)


def vit_checkpoint(folder: Path) -> Path:
    config = made.CONFIG.model_copy(update={"backbone": VIT, "image": SMALL})
    torch.manual_seed(0)
    save(
        folder,
        config,
        MultiTaskModel(config),
        Card(trained_on="nothing", steps=0, hours=0.0, metrics={}),
        storage="float32",
    )
    return folder


def test_a_vit_at_another_size_is_hf_dinov2_at_that_size() -> None:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(2)
    hf = Dinov2Model(
        Dinov2Config(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, image_size=56, patch_size=14)
    ).eval()
    for parameter in hf.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    weights = vit_published(hf.state_dict(), VIT.depths, (4, 4)).tensors
    refitted = Vit.refit(weights, VIT, SMALL, OTHER)
    assert refitted.changes == ("positions interpolated from 4 × 4 to 6 × 3: bicubic, no antialiasing",)
    ours = Vit(VIT, OTHER).eval()
    ours.load_state_dict(refitted.tensors)
    image = torch.randn(1, 3, OTHER.height, OTHER.width)
    with torch.no_grad():
        want = hf(image, output_hidden_states=True).hidden_states[3][:, 1:].unflatten(1, (6, 3))
        got = ours(image)[-1].output
    assert (got - want).abs().max() / want.abs().max() < 1e-5


@pytest.mark.parametrize(
    ("height", "width", "said"),
    [
        (48, 100, "windows of 4 × 4, padded with zeros in stage 0, 12 × 25; stage 1, 6 × 13"),
        (96, 32, "windows of 4 × 4 fit every stage"),
    ],
)
def test_a_swin_at_another_size_is_hfs_swin_at_that_size(height: int, width: int, said: str) -> None:
    config, image = PRESETS["tiny"], ImageConfig(height=height, width=width)
    hf = hf_swin(config, 64)
    refitted = Swin.refit(swin_published(hf.state_dict(), config.window).tensors, config, SMALL, image)
    assert refitted.changes == (said,)
    ours = Swin(config, image).eval()
    ours.load_state_dict(refitted.tensors)
    pixels = torch.randn(1, 3, height, width)
    with torch.no_grad():
        states = hf(pixels, output_hidden_states=True).reshaped_hidden_states
        got = ours(pixels)[-1].output.permute(0, 3, 1, 2)
    assert (got - states[-1]).abs().max() / states[-1].abs().max() < 1e-5


def test_positions_of_a_grid_that_is_not_square_are_resized_too() -> None:
    table = torch.cat([torch.zeros(1, 1, 3), torch.arange(6.0).view(1, 6, 1).expand(1, 6, 3)], 1)
    resized = resize_positions(table, (4, 6), (2, 3))
    want = torch.nn.functional.interpolate(torch.arange(6.0).view(1, 1, 2, 3), size=(4, 6), mode="bicubic")
    assert torch.allclose(resized[0, 1:, 0], want.flatten())
    with pytest.raises(CheckpointError):
        resize_positions(table, (4, 6), (3, 3))


@pytest.mark.parametrize("make", [made.checkpoint, vit_checkpoint])
def test_a_checkpoint_answers_at_the_size_and_says_what_changed(make: object, tmp_path: Path) -> None:
    folder = make(tmp_path / "model")  # type: ignore[operator]
    config, model, changes = load_at(folder, (84, 56))
    assert (config.image.height, config.image.width) == (84, 56) and len(changes) == 2
    assert changes[0].startswith("image 84 × 56 in the place of ")
    with torch.no_grad():
        answers = model(torch.randn(1, 3, 84, 56))
    assert {name: tuple(answer.shape) for name, answer in answers.items()} == {
        name: (1, channels, 84, 56) for name, channels in made.TASKS.items()
    }
    eager = EagerModel(folder, (84, 56))
    assert eager.run(np.zeros((84, 56, 3), np.uint8), name="")["depth"].shape == (1, 84, 56)


def test_its_own_size_changes_nothing(tmp_path: Path) -> None:
    folder = made.checkpoint(tmp_path / "model")
    own = (made.SIDE, made.SIDE)
    config, model, changes = load_at(folder, own)
    assert changes == () and config == load(folder)[0]
    for name, tensor in load(folder)[1].state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])
    assert checkpoint_digest(folder, own) == checkpoint_digest(folder) != checkpoint_digest(folder, (64, 32))


def test_a_size_that_the_patch_does_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="images of this size") as caught:
        load_at(vit_checkpoint(tmp_path / "model"), (84, 57))
    assert "not a multiple of the backbone's patch 14" in caught.value.got and caught.value.where == "--size"


def test_a_tensor_that_depends_on_the_size_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = vit_checkpoint(tmp_path / "model")
    monkeypatch.setattr("tdss.backbones.vit.resize_positions", lambda table, grid, source: table)
    with pytest.raises(CheckpointError, match="depend on the size") as caught:
        load_at(folder, (84, 56))
    assert caught.value.got == "backbone.positions is (1, 17, 24), not (1, 25, 24)"
