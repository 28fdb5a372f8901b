"""Storage as FP16, and the comparison with a run that is not there."""

from pathlib import Path

import pytest
import torch
from torch import nn

from bundle.base.errors import CheckpointError
from tdss.training.config import read
from tdss.training.finish import compare, round_to_half

HEADS = Path(__file__).resolve().parents[3] / "models/default/training/heads.toml"


def test_weights_are_rounded_to_half_and_stay_float32() -> None:
    layer = nn.Linear(3, 3)
    before = layer.weight.detach().clone()
    round_to_half(layer.state_dict())
    assert layer.weight.dtype == torch.float32
    assert torch.equal(layer.weight, before.to(torch.float16).to(torch.float32))
    assert not torch.equal(layer.weight, before)


def test_a_weight_beyond_half_is_named() -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.bias[0] = 7e4
    with pytest.raises(CheckpointError, match="bias does not fit FP16"):
        round_to_half(layer.state_dict())


def test_a_baseline_of_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read(HEADS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no card"):
        compare(config)
