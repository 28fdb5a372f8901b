"""A wrong training config is refused, and the message names what is wrong."""

from pathlib import Path

import pytest

from bundle.base.errors import ConfigError
from tdss.training.config import read
from tests.tdss.training.tiny import settings, write_config

SHIPPED = sorted((Path(__file__).parents[3] / "models" / "default" / "training").glob("*.toml"))


def refused(tmp_path: Path, **changes: object) -> str:
    keys = {key: value for key, value in {**settings(tmp_path, tmp_path), **changes}.items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        read(write_config(tmp_path / "bad.toml", keys))
    return str(caught.value)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    assert "learning_rate" in refused(tmp_path, learning_rate=1.0)
    assert "batch" in refused(tmp_path, batch=0)
    assert "optimizer.ema" in refused(tmp_path, optimizer={"lr": 1.0, "ema": 1.0})
    assert "exactly one of steps and minutes" in refused(tmp_path, minutes=1.0)
    assert "exactly one of steps and minutes" in refused(tmp_path, steps=None)
    said = refused(tmp_path, losses={"depth": {}, "semsge": {}})
    assert "add [losses.normals]" in said and "remove [losses.semsge]" in said and "Value error" not in said
    assert "need init_backbone" in refused(tmp_path, freeze_backbone=True)
    assert "precision" in refused(tmp_path, precision="16-mixed")


def test_what_is_trained_and_stored_agrees_with_the_start(tmp_path: Path) -> None:
    assert "need init_backbone" in refused(tmp_path, stores="trained")
    assert "freeze_backbone or trainable" in refused(
        tmp_path, init_backbone="c", freeze_backbone=True, trainable=["decoders.*"]
    )
    model = {**settings(tmp_path, tmp_path)["model"], "base": {"path": "../c", "sha256": "0" * 64}}  # type: ignore[dict-item]
    assert "model.base is written by a run" in refused(tmp_path, model=model)


def test_a_missing_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is missing"):
        read(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("name = ")
    with pytest.raises(ConfigError, match="no TOML"):
        read(tmp_path / "broken.toml")
    (tmp_path / "broken.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match="no TOML"):
        read(tmp_path / "broken.toml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_configs_are_read(path: Path) -> None:
    assert read(path).name == path.stem


def test_the_baseline_differs_from_the_model_in_its_adapter_only() -> None:
    phases = {path.stem: read(path) for path in SHIPPED}
    model, baseline = phases["tdss"], phases["heads"]
    assert baseline.baseline_of == model.folder
    same = {"name": model.name, "baseline_of": None, "model": model.model}
    assert baseline.model_copy(update=same) == model
    assert baseline.model.model_copy(update={"name": model.model.name, "adapter": model.model.adapter}) == model.model


def test_a_file_differs_from_the_one_that_it_extends(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    write_config(tmp_path / "base.toml", settings(tmp_path, tmp_path))
    adapter = {"kind": "tdss", "experts": 2, "rank": 2, "gates": [["static"], ["static"]]}
    own = {"extends": "../base.toml", "batch": 3, "losses": {"normals": {"weight": 4.0}}, "model": {"adapter": adapter}}
    base, found = read(tmp_path / "base.toml"), read(write_config(tmp_path / "runs" / "own.toml", own))
    assert (found.batch, found.losses["normals"].weight, found.model.adapter.kind) == (3, 4.0, "tdss")
    assert found.losses["normals"].balance == base.losses["normals"].balance == 0.5
    same = {"batch": base.batch, "losses": base.losses, "model": base.model}
    assert found.model_copy(update=same) == base
    back = write_config(tmp_path / "back.toml", {"extends": "runs/own.toml", "model": {"adapter": {"kind": "none"}}})
    with pytest.raises(ConfigError, match="extends"):
        read(back)
    with pytest.raises(ConfigError, match=r"other\.toml"):
        read(write_config(tmp_path / "lost.toml", {"extends": "other.toml"}))
