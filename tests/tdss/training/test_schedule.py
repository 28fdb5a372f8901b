"""The schedule against torch's own schedulers."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from tdss.training.config import OptimizerConfig
from tdss.training.schedule import ema_decay, learning_rate


def test_the_rate_is_torchs_cosine_after_a_linear_warm_up() -> None:
    config = OptimizerConfig(lr=0.4, warmup=4, final=0.1)
    assert [learning_rate(step, 24, config) for step in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    scheduler = CosineAnnealingLR(optimizer, T_max=20, eta_min=0.04)
    for step in range(4, 25):
        assert learning_rate(step, 24, config) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


def test_the_average_starts_short_and_ends_at_its_decay() -> None:
    assert ema_decay(0, 0.99) == pytest.approx(0.1)
    assert ema_decay(10**6, 0.99) == 0.99
    assert ema_decay(5, 0.0) == 0.0
