"""What a run is judged by, beside the manifest's budgets: the gate, the number of draws, which verdicts pass."""

from typing import NamedTuple

from bundle.formats.manifest import Manifest
from bundle.judging.verdict import Gate, Rule, Verdict, accepted
from bundle.tasks.metrics import Metric


class Judging(NamedTuple):
    """How measured arrays become verdicts; see bundle/judging/verdict.py."""

    gate: Gate
    resamples: int
    allow_inconclusive: bool

    def rule(self, manifest: Manifest, name: str, figure: Metric) -> Rule:
        """Return how a figure of a task is judged, by the manifest's budget and seed."""
        budget, seed = manifest.budgets[name], manifest.seeds.bootstrap
        return Rule(figure.reduce_many, figure.direction, budget, seed, self.resamples, self.gate)

    @property
    def accepted(self) -> tuple[Verdict, ...]:
        """The verdicts a report may hold and still pass."""
        return accepted(allow_inconclusive=self.allow_inconclusive)
