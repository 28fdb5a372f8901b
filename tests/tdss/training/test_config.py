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
    assert "needs init_backbone" in refused(tmp_path, freeze_backbone=True)
    assert "precision" in refused(tmp_path, precision="16-mixed")


@pytest.mark.parametrize("adapter", [{"kind": "ssf"}, {"kind": "mtlora", "rank": 2}])
@pytest.mark.parametrize("freeze", [True, False])
def test_an_adapter_inside_the_backbone_is_not_frozen_with_it(
    adapter: dict[str, object], freeze: bool, tmp_path: Path
) -> None:
    model = {**settings(tmp_path, tmp_path)["model"], "adapter": adapter}  # type: ignore[dict-item]
    keys = {**settings(tmp_path, tmp_path), "model": model}
    assert read(write_config(tmp_path / "good.toml", keys)).model.adapter.kind == adapter["kind"]
    said = refused(tmp_path, model=model, init_backbone="c", freeze_backbone=freeze)
    assert f"adapter {adapter['kind']} lives inside the backbone" in said


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
