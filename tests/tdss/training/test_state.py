"""What is on disk is what is restored: no more, no less."""

from pathlib import Path

import torch
from torch import nn
from torch.optim import AdamW

from tdss.training import state


def test_a_parameter_without_moments_gets_none(tmp_path: Path) -> None:
    """One branch was never run, so its optimizer has no moments to save."""
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "idle": nn.Linear(2, 2)})
    optimizer = AdamW(model.parameters(), lr=0.1)
    model["used"](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    counters = state.Counters(step=1, total=9, seed=0, seconds=1.0, config_sha256="x")
    state.save(tmp_path / "last", counters, model, {}, optimizer)
    again = AdamW(model.parameters(), lr=0.1)
    assert state.load(tmp_path / "last", model, {}, again) == counters
    used, idle = model["used"].weight, model["idle"].weight  # type: ignore[union-attr]
    assert torch.equal(again.state[used]["exp_avg"], optimizer.state[used]["exp_avg"])  # type: ignore[index]
    assert idle not in again.state
