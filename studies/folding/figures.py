"""What the study of folding measured, and the numbers to reach."""

from bundle.base.frozen import Frozen
from studies.folding.kernels import OpTime

ROUNDS, BURST = 15, 3


class Latency(Frozen):
    """One graph on one runtime: the median and the quartiles of its latencies in milliseconds."""

    runtime: str
    graph: str
    median_ms: float
    low_ms: float
    high_ms: float


class Number(Frozen):
    """One number to reach: ``value`` must be at most ``limit``, or at least where ``at_least``.

    ``value`` is the median over the rounds, ``spread`` the quartiles; of a growth, the smallest and the largest step.
    """

    runtime: str
    name: str
    value: float
    limit: float | None
    at_least: bool = False
    spread: tuple[float, float] | None = None

    @property
    def met(self) -> bool:
        """Whether the number is reached; a row without a limit is information."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.at_least else self.value <= self.limit


class Figures(Frozen):
    """What ``make bench-fold`` measured, and on what; ``load`` is the machine's load average before and after."""

    preset: str
    machine: str
    runtimes: dict[str, str]
    rewrites: dict[str, tuple[str, ...]]
    threads: int
    clock: str
    rounds: int
    load: tuple[float, float]
    rows: tuple[Number, ...]
    latencies: tuple[Latency, ...]
    kernels: tuple[OpTime, ...]
