"""A trained checkpoint is shipped with its base named from where it is shipped; one that does not fit is refused."""

import hashlib
from pathlib import Path

import pytest
import torch

from bundle.base.errors import CheckpointError
from studies.zoo.rows import Row, read_rows
from studies.zoo.train import LARGEST_MB, ship
from tdss import checkpoint
from tdss.card import Card, load_card
from tdss.config import BaseConfig
from tdss.model import MultiTaskModel

CARD = Card(trained_on="made", steps=1, hours=0.0, metrics={})


def trained(row: Row, base: Path, out: Path) -> Path:
    """Write a base, and a checkpoint that holds all but the base's backbone."""
    torch.manual_seed(0)
    model = MultiTaskModel(row.config.model)
    checkpoint.save(base, row.config.model, model, CARD, storage="float16")
    digest = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    config = row.config.model.model_copy(update={"base": BaseConfig(path="../../base", sha256=digest)})
    held = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("backbone.")}
    out.mkdir(parents=True)
    checkpoint.write(out, config, held, CARD, storage="float16")
    return out


def test_a_shipped_checkpoint_finds_its_base(zoo: Path, tmp_path: Path) -> None:
    [row] = read_rows(zoo, ["added"])
    made = trained(row, tmp_path / "base", tmp_path / "runs" / "added")
    ship(made, row.folder, LARGEST_MB)
    _, weights = checkpoint.read(row.folder)
    assert all(torch.equal(weights[name], tensor) for name, tensor in checkpoint.read(tmp_path / "base")[1].items())
    assert load_card(row.folder) == CARD and "../../base" in (row.folder / "config.toml").read_text()


def test_what_is_too_large_or_has_no_base_is_not_shipped(zoo: Path, tmp_path: Path) -> None:
    [row] = read_rows(zoo, ["added"])
    made = trained(row, tmp_path / "base", tmp_path / "runs" / "added")
    with pytest.raises(CheckpointError, match="no base"):
        ship(tmp_path / "base", row.folder, LARGEST_MB)
    with (made / "model.safetensors").open("ab") as stream:
        stream.truncate(5_000_000)
    with pytest.raises(CheckpointError, match=r"5\.00 MB"):
        ship(made, row.folder, LARGEST_MB)
    assert not (row.folder / "model.safetensors").exists()
