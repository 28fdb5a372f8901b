"""Steering: from the noise at a task's output to the graph worth trying, before any metric is measured of it.

A metric on a few images is a poor guide: the largest F of a weak saliency jumps when one image stops answering at a
threshold. The noise a graph adds to a task's output is Σ difference² / Σ reference² against the float graph. It is smooth and
needs few images and no label, and the noise powers of layers add (sensitivity.py). A small disturbance of the outputs moves a metric
in proportion to its amplitude, so with a share n of plain INT8's noise left

    drop' = √n · drop        interval' = √n · interval

is what the images would show. That is a forecast: it says which graph is tried and when none is worth it, and never gives a verdict.
"""

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import NamedTuple

from bundle.judging.sensitivity import LayerSensitivity, TaskDrop
from bundle.judging.verdict import decide

Tasks = Mapping[str, TaskDrop]
NEAR, PASSED, HELD = 1, 2, 3


class Aim(NamedTuple):
    """What a graph is held to on the calibration images: each task's budget, and the part of it that an interval may take."""

    budgets: Mapping[str, float]
    margin: float

    def within(self, name: str) -> float:
        """The drop within which a task holds."""
        return self.margin * self.budgets[name]


def broken(tasks: Tasks, aim: Aim) -> tuple[str, ...]:
    """Return the tasks whose interval is not within ± ``margin`` of the budget, but for those that are undefined."""
    return tuple(
        name
        for name, one in tasks.items()
        if one.defined and not all(abs(end) <= aim.within(name) for end in one.interval)
    )


def level(tasks: Tasks, aim: Aim) -> int:
    """Return how good a graph is: 3 every task holds, 2 every verdict is a pass, 1 what is no pass is near, 0 none of these."""
    known = {name: one for name, one in tasks.items() if one.defined}
    if not broken(tasks, aim):
        return HELD
    if all(value.verdict == "pass" for value in known.values()):
        return PASSED
    return NEAR if all(near(one, aim.within(name)) for name, one in known.items()) else 0


def near(one: TaskDrop, within: float) -> bool:
    """Say whether a task passes or, where the images cannot tell, its drop alone is within ``within``."""
    return one.verdict == "pass" or (one.verdict == "inconclusive" and abs(one.drop) <= within)


def foresee(tasks: Tasks, left: Mapping[str, float], aim: Aim) -> dict[str, TaskDrop]:
    """Return how plain INT8's ``tasks`` would stand with a share ``left`` of its noise at each task's output."""
    return {name: _scaled(one, sqrt(max(0.0, left[name])), aim.budgets[name]) for name, one in tasks.items()}


def _scaled(one: TaskDrop, amplitude: float, budget: float) -> TaskDrop:
    low, high = (amplitude * end for end in one.interval)
    if not (one.defined and abs(low) + abs(high) < float("inf")):
        return one
    changes = {"drop": amplitude * one.drop, "interval": (low, high), "verdict": decide(low, high, budget)}
    return one.model_copy(update=changes)


def left_by(rows: Sequence[LayerSensitivity], returned: Sequence[LayerSensitivity]) -> dict[str, float]:
    """Return the share of each task's noise that stays with the layers ``returned`` in float; ``rows`` are all layers."""
    names = rows[0].sqnr_db if rows else {}
    gone = {row.name for row in returned}
    return {
        name: sum(row.noise(name) for row in rows if row.name not in gone)
        / (sum(row.noise(name) for row in rows) or 1.0)
        for name in names
    }


def order_layers(rows: Sequence[LayerSensitivity], tasks: Sequence[str]) -> tuple[LayerSensitivity, ...]:
    """Return the layers in the order in which their return to float buys most for ``tasks`` per multiply-accumulate.

    A layer's gain is its part of all layers' noise at a task's output, summed over the tasks.
    """
    totals = {name: sum(row.noise(name) for row in rows) or 1.0 for name in tasks}

    def gain(row: LayerSensitivity) -> float:
        return sum(row.noise(name) / totals[name] for name in tasks) / max(row.macs_share, 1e-9)

    return tuple(sorted(rows, key=lambda row: (-gain(row), row.name)))


def affordable(rows: Sequence[LayerSensitivity], share: float) -> tuple[LayerSensitivity, ...]:
    """Return the layers, in their order, that together have at most ``share`` of the MACs; one that is too large is left out."""
    total, kept = 0.0, list[LayerSensitivity]()
    for row in rows:
        if total + row.macs_share <= share:
            total += row.macs_share
            kept.append(row)
    return tuple(kept)


def shortest(ordered: Sequence[LayerSensitivity], rows: Sequence[LayerSensitivity], tasks: Tasks, aim: Aim) -> int:
    """Return how many of the layers ``ordered`` are worth returning: 0 where all of them are foreseen to be no better than none.

    The shortest prefix as good as the longest; where that is only near, the longest, for what is left is noise of the images.
    """
    levels = [level(foresee(tasks, left_by(rows, ordered[:count]), aim), aim) for count in range(len(ordered) + 1)]
    best = levels[-1]
    if best <= level(tasks, aim):
        return 0
    return len(ordered) if best == NEAR else levels.index(best)


def enough(rows: Sequence[LayerSensitivity], tasks: Tasks, aim: Aim, never: float) -> float | None:
    """Return the share of the MACs in float with which every task is foreseen to pass, upwards to whole percents; None: they do.

    ``never`` is the share that is not quantized at all.
    """
    if level(tasks, aim) >= PASSED:
        return None
    ordered = order_layers(rows, broken(tasks, aim))
    count = next(
        (
            count
            for count in range(len(ordered) + 1)
            if level(foresee(tasks, left_by(rows, ordered[:count]), aim), aim) >= PASSED
        ),
        len(ordered),
    )
    return min(1.0, ceil(100 * (never + sum(row.macs_share for row in ordered[:count]))) / 100)
