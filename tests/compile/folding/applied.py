"""Models with zero weights, and how many examples hypothesis draws."""

import torch
from hypothesis import HealthCheck, settings
from torch import nn

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def few(examples: int) -> settings:
    """Hypothesis with the same ``examples`` in every run."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=SLOW, derandomize=True)


def zero(model: nn.Module, *names: str) -> None:
    """Set parameters, or with ``name:first-last`` rows of them, to 0."""
    with torch.no_grad():
        for name in names:
            place, _, rows = name.partition(":")
            model.get_parameter(place)[slice(*map(int, rows.split("-"))) if rows else slice(None)] = 0
