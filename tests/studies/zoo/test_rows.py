"""Rows are found by their training files; those that are shipped share everything but their systems, and fit the repository."""

from pathlib import Path

import pytest
import torch

from bundle.base.errors import ConfigError, InputError
from studies.zoo.rows import BASELINE, Row, read_rows
from studies.zoo.train import LARGEST_MB
from tdss import checkpoint
from tdss.linears import matching
from tdss.model import plain_backbone, shapes
from tdss.training.start import trained_patterns
from tests.studies.zoo.conftest import write_row
from tests.tdss.training.tiny import settings

SHIPPED = read_rows(Path(__file__).parents[3] / "models" / "zoo")
NAMED = pytest.mark.parametrize("row", SHIPPED, ids=lambda row: row.name)


def test_the_baseline_comes_first(zoo: Path) -> None:
    (zoo / "empty").mkdir()
    assert [row.name for row in read_rows(zoo)] == ["heads", "added"]
    assert [row.name for row in read_rows(zoo, ["added"])] == ["added"]


def test_a_row_that_is_not_there_is_named(zoo: Path) -> None:
    with pytest.raises(InputError, match="no row 'ghost'"):
        read_rows(zoo, ["ghost"])
    (zoo / "heads" / "training.toml").unlink()
    with pytest.raises(InputError, match="no row 'heads'"):
        read_rows(zoo)


def test_a_row_has_one_name(zoo: Path) -> None:
    other = {**settings(zoo, zoo)["model"], "name": "other"}  # type: ignore[dict-item]
    write_row(zoo, "third", model=other)
    with pytest.raises(ConfigError, match="other, third"):
        read_rows(zoo)


@NAMED
def test_shipped_rows_are_trained_alike(row: Row) -> None:
    base = SHIPPED[0].config
    assert SHIPPED[0].name == BASELINE
    same = (
        "runs",
        "seed",
        "steps",
        "minutes",
        "batch",
        "data",
        "augment",
        "init_backbone",
        "freeze_backbone",
        "stores",
    )
    assert {name: getattr(row.config, name) for name in same} == {name: getattr(base, name) for name in same}
    model = row.config.model
    assert (model.tasks, model.image, model.backbone) == (base.model.tasks, base.model.image, base.model.backbone)


@pytest.mark.slow
@NAMED
def test_what_a_row_trains_fits_the_repository(row: Row) -> None:
    model = shapes(row.config.model)
    names = [name for name, _ in model.named_parameters()]
    frozen = set(names) - matching(names, trained_patterns(row.config))
    with torch.device("meta"):
        lent = {f"backbone.{name}" for name in plain_backbone(row.config.model).state_dict()}
    stored = {name: tensor for name, tensor in model.state_dict().items() if name not in frozen & lent}
    width = {True: 2, False: 8}
    assert sum(x.numel() * width[x.is_floating_point()] for x in stored.values()) < 0.99e6 * LARGEST_MB


@pytest.mark.slow
@NAMED
def test_a_shipped_checkpoint_is_that_of_its_training_file(row: Row) -> None:
    if not (row.folder / "model.safetensors").is_file():
        pytest.skip("the row is not trained yet: make zoo-train")
    config, _ = checkpoint.read(row.folder)
    wanted = row.config.model  # a training may write what it learned into its adapter's table
    assert config.adapter.kind == wanted.adapter.kind
    assert config.model_copy(update={"base": None, "adapter": wanted.adapter}) == wanted
