"""The shipped model beside DINOv2 is what its training file describes, small, and names its backbone and how to get it."""

import pytest

from studies.dinov2.train import LARGEST_MB, MADE_BY, MODEL, TRAINING
from tdss.card import load_card
from tdss.config_file import read_config
from tdss.training.config import read
from tests.architecture.source import ROOT


def test_the_training_file_fits_the_cache_and_keeps_the_backbone_out() -> None:
    run = read(ROOT / TRAINING)
    assert run.cache_taps is not None and run.stores == "trained" and run.freeze_backbone
    assert len(run.model.tasks) == 6 and run.name == run.model.name == MODEL.name


def test_what_ships_is_what_the_file_describes() -> None:
    folder, run = ROOT / MODEL, read(ROOT / TRAINING)
    if not (folder / "config.toml").is_file():
        pytest.skip("the model is not trained yet: make dinov2")
    config, card = read_config(folder / "config.toml"), load_card(folder)
    assert config.base is not None and config.base.made_by == MADE_BY and run.init_backbone is not None
    assert (folder / config.base.path).resolve() == (ROOT / run.init_backbone).resolve()
    assert config.model_copy(update={"base": None}) == run.model
    assert (folder / "model.safetensors").stat().st_size <= LARGEST_MB * 1e6
    assert card is not None and card.metrics.keys() == run.model.tasks.keys() and card.steps == run.steps
