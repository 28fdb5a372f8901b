"""MT-CP's weights of the tasks' losses, which follow the losses from epoch to epoch.

With L_t the mean loss of task t in an epoch, L their sum, and L⁻ those of the epoch before:

    after the first epoch   w_t = L/L_t
    after each other        r_t = (L_t/L_t⁻) / (L/L⁻),   w_t = mean r + spread·(r_t − mean r)

With a spread of 7.5 a weight is negative where r_t is 14 % below the mean. The paper projects the losses: log(1 + 1e-6 + L_t).
"""

import math
from collections.abc import Mapping, Sequence

Losses = Mapping[str, float]
ETA = 1e-6


def project(losses: Losses) -> dict[str, float]:
    """Return the losses on a logarithmic scale."""
    return {task: math.log(loss + 1 + ETA) for task, loss in losses.items()}


def weights(epochs: Sequence[Losses], spread: float) -> dict[str, float]:
    """Return the weights of the next epoch; a task without a loss, as one without labels, has none."""
    live = [task for task in epochs[-1] if all(losses[task] > 0 for losses in epochs[-2:])] if epochs else []
    if not live:
        return {}
    *before, now = [{task: losses[task] for task in live} for losses in epochs[-2:]]
    total = sum(now.values())
    if not before:
        return {task: total / loss for task, loss in now.items()}
    change = total / sum(before[0].values())
    return spread_out({task: loss / before[0][task] / change for task, loss in now.items()}, spread)


def spread_out(values: Losses, factor: float) -> dict[str, float]:
    """Return the values with their distances to their mean times ``factor``."""
    mean = sum(values.values()) / len(values)
    return {task: mean + factor * (value - mean) for task, value in values.items()}
