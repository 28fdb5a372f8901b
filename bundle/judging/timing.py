"""Latencies and their noise: percentiles, the ratio of two variants over paired rounds, and how busy the machine was.

Every round calls each variant once, in order, so that what disturbs the machine disturbs all of them. A ratio is
resampled over rounds: one draw of rounds gives both medians and one ratio. Its interval is the central 95 % of the
draws. Where that
interval cannot tell two variants apart, as many rounds again are measured, up to a limit. No clock is read here.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from pydantic import Field

from bundle.base.frozen import Frozen

Rounds: TypeAlias = Mapping[str, Sequence[float]]  # by variant: its latency in milliseconds in each round
RowT = TypeVar("RowT")

AGAIN = 3  # times that the rounds are measured again, at most, where they cannot tell two variants apart
DRAWS = 2_000
LOAD_LIMIT = 1.25  # load per CPU from which the machine is busy; what is timed makes 1 itself
STEAL_LIMIT = 0.05
SPREAD_LIMIT = 1.3  # p90 / p10 of one variant; on an idle machine it is below 1.1
PROC_STAT = Path("/proc/stat")


class Percentiles(Frozen):
    """Latency of one inference in milliseconds over ``runs`` of them; ``p10_ms`` is null in files of before it was recorded."""

    p10_ms: float | None = None
    p50_ms: float
    p90_ms: float
    p99_ms: float
    runs: int


class Ratio(Frozen):
    """One variant's time over another's: the ratio of the medians, and its 95 % interval over the rounds."""

    median: float
    low: float
    high: float

    @property
    def equal(self) -> bool:
        """True where the difference is within the noise."""
        return self.low <= 1 <= self.high


class Load(Frozen):
    """How busy the machine was: load averages over 1, 5 and 15 minutes before and after, null where the system has none.

    ``steal`` is the share of CPU time that the hypervisor gave to others meanwhile, null where the system does not say.
    """

    cpus: int = Field(gt=0)
    before: tuple[float, float, float] | None
    after: tuple[float, float, float] | None
    steal: float | None


class Glance(NamedTuple):
    """The machine at one moment: load averages, and stolen and all CPU time in ticks since it started (None: not known)."""

    averages: tuple[float, float, float] | None
    ticks: tuple[int, int] | None


def percentiles(values_ms: Sequence[float]) -> Percentiles:
    """Return the percentiles of latencies in milliseconds, linear between two of them."""
    p10, p50, p90, p99 = (float(value) for value in np.percentile(np.asarray(values_ms, np.float64), [10, 50, 90, 99]))
    return Percentiles(p10_ms=p10, p50_ms=p50, p90_ms=p90, p99_ms=p99, runs=len(values_ms))


def median(values_ms: Sequence[float]) -> float:
    """Return the median of latencies in milliseconds."""
    return float(np.median(np.asarray(values_ms, np.float64)))


def ratio(values_ms: Sequence[float], base_ms: Sequence[float]) -> Ratio:
    """Compare two variants over the rounds of one run; the draws are seeded."""
    pairs = np.asarray([values_ms, base_ms], np.float64)
    picks = np.random.default_rng(0).integers(0, pairs.shape[1], (DRAWS, pairs.shape[1]))
    ours, theirs = np.median(pairs[:, picks], axis=-1)
    low, high = (float(value) for value in np.quantile(ours / theirs, (0.025, 0.975)))
    return Ratio(median=median(values_ms) / median(base_ms), low=low, high=high)


def measure(
    take: Callable[[int, int], dict[str, list[RowT]]],
    unsettled: Callable[[dict[str, list[RowT]]], bool],
    *,
    warmup: int,
    runs: int,
    again: int,
) -> dict[str, list[RowT]]:
    """Return the rounds of ``take(warmup, runs)``, and up to ``again`` times as many more while they are ``unsettled``."""
    rows = take(warmup, runs)
    for _ in range(again):
        if not unsettled(rows):
            break
        more = take(0, runs)
        rows = {name: [*known, *more[name]] for name, known in rows.items()}
    return rows


def glance() -> Glance:
    """Look at the machine; what this system does not say is None."""
    return Glance(os.getloadavg() if hasattr(os, "getloadavg") else None, _ticks())


def _ticks() -> tuple[int, int] | None:
    """Return stolen and all CPU time in ticks from the first line of /proc/stat."""
    try:
        fields = [int(field) for field in PROC_STAT.read_text(encoding="ascii").splitlines()[0].split()[1:]]
    except (OSError, ValueError, IndexError):
        return None
    return (fields[7], sum(fields[:8])) if len(fields) > 7 else None


def load_between(before: Glance, after: Glance) -> Load:
    """Return how busy the machine was between two glances."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    steal = None
    if before.ticks is not None and after.ticks is not None:
        stolen, total = (late - early for early, late in zip(before.ticks, after.ticks, strict=True))
        steal = stolen / total if total > 0 else 0.0
    return Load(cpus=cpus, before=before.averages, after=after.averages, steal=steal)


def disturbances(load: Load | None, variants: Mapping[str, Percentiles]) -> tuple[str, ...]:
    """Say what shows that the machine was busy with something else; nothing where nothing does."""
    signs = []
    if load is not None:
        highest = max((averages[0] for averages in (load.before, load.after) if averages is not None), default=0.0)
        signs += [f"load {highest:.1f} on {load.cpus} CPUs"] if highest > LOAD_LIMIT * load.cpus else []
        signs += [f"{load.steal:.0%} of the CPU time went to other guests"] if (load.steal or 0.0) > STEAL_LIMIT else []
    for name, one in variants.items():
        if one.p10_ms and one.p90_ms > SPREAD_LIMIT * one.p10_ms:
            signs.append(f"{name}: p90 is {one.p90_ms / one.p10_ms:.2f} times p10")
    return tuple(signs)


def busy(findings: Sequence[str]) -> str:
    """Warn that the machine was busy while it timed, by what ``disturbances`` returns."""
    return f"the machine was busy while it timed ({'; '.join(findings)}): the latencies may not be repeatable"
