"""The timing protocol: several callables in one interleaved run, so that a noisy machine disturbs them alike."""

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

from compile.config import TimingConfig


def measure(subjects: Mapping[str, Callable[[], object]], timing: TimingConfig) -> dict[str, float]:
    """Return each subject's median latency in milliseconds.

    Every round calls each subject once, in order; the first ``timing.warmup`` rounds are not counted, the next
    ``timing.runs`` are.
    """
    spent: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(timing.warmup + timing.runs):
        for name, subject in subjects.items():
            start = perf_counter()
            subject()
            elapsed_ms = (perf_counter() - start) * 1e3
            if number >= timing.warmup:
                spent[name].append(elapsed_ms)
    return {name: median(values) for name, values in spent.items()}
