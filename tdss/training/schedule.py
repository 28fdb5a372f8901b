"""The learning rate: linear warm-up, then half a cosine (Loshchilov and Hutter, SGDR, ICLR 2017, without restarts)."""

import math

from tdss.training.config import OptimizerConfig


def learning_rate(step: int, total: int, config: OptimizerConfig) -> float:
    """Return the rate of step ``step`` (from 0) of ``total``; it ends at ``final`` × ``lr``."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, total - config.warmup)
    low = config.lr * config.final
    return low + (config.lr - low) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def ema_decay(step: int, decay: float) -> float:
    """Return the decay of the running average at ``step``: small at first, so that the start is forgotten."""
    return min(decay, (1 + step) / (10 + step))
