"""The timing protocol: several callables in one interleaved run, so that a noisy machine disturbs them alike."""

from collections.abc import Callable, Mapping
from functools import partial
from statistics import median, quantiles
from time import perf_counter, process_time
from typing import Literal, NamedTuple, TypeAlias

from compile.stage.config import TimingConfig

Clock: TypeAlias = Literal["wall", "cpu"]
CLOCKS: dict[Clock, Callable[[], float]] = {"wall": perf_counter, "cpu": process_time}


class Ratio(NamedTuple):
    """One subject's latency over another's: the median of the ratios of each round, and their quartiles."""

    median: float
    low: float
    high: float


def measure(subjects: Mapping[str, Callable[[], object]], timing: TimingConfig) -> dict[str, float]:
    """Return each subject's median latency in milliseconds; see ``sample``."""
    return {name: median(values) for name, values in sample(subjects, timing).items()}


def sample(
    subjects: Mapping[str, Callable[[], object]], timing: TimingConfig, clock: Clock = "wall"
) -> dict[str, list[float]]:
    """Return each subject's latencies in milliseconds, one per round.

    Every round calls each subject in order; the first ``timing.warmup`` rounds are not counted, the next
    ``timing.runs`` are. ``clock`` cpu counts the process's CPU time, which a busy machine does not stretch.

    With ``timing.burst`` > 1 a subject's turn is one call that is not timed and ``burst`` that are, of which the median
    counts. By then the caches are its own. The threads of the subject before, which spin for a while in wait of more
    work, have gone to sleep by then.
    """
    spent: dict[str, list[float]] = {name: [] for name in subjects}
    now = CLOCKS[clock]
    for number in range(timing.warmup + timing.runs):
        for name, subject in subjects.items():
            elapsed_ms = turn(partial(_elapsed_ms, subject, now), timing.burst)
            if number >= timing.warmup:
                spent[name].append(elapsed_ms)
    return spent


def turn(elapsed_ms: Callable[[], float], burst: int) -> float:
    """Return what one subject's turn in a round counts: the median of ``burst`` calls, after one more where there are several."""
    if burst > 1:
        elapsed_ms()
    return median(elapsed_ms() for _ in range(burst))


def _elapsed_ms(subject: Callable[[], object], now: Callable[[], float]) -> float:
    start = now()
    subject()
    return (now() - start) * 1e3


def ratio(values: list[float], base: list[float]) -> Ratio:
    """Compare two subjects of one run, round by round."""
    each = [one / other for one, other in zip(values, base, strict=True)]
    low, middle, high = quantiles(each, n=4, method="inclusive") if len(each) > 1 else (each[0],) * 3
    return Ratio(middle, low, high)
