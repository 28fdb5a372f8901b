"""The artifacts of stages that only a pipeline has: what the reference said, and how the variants were judged."""

from typing import ClassVar

from bundle.artifacts import Artifact
from bundle.frozen import Frozen
from targets.base import Precision


class ReferenceVectors(Artifact):
    """The evaluation images, their labels and the unfolded checkpoint's answers: vectors.npz."""

    kind: ClassVar[str] = "vectors"


class Judged(Artifact):
    """Which variant is shipped and why: regression.json, bench.json, choice.json."""

    kind: ClassVar[str] = "judged"


class Candidate(Frozen):
    """One variant as it was measured; ``latency_ms`` is None where time means nothing, ``verdicts`` is empty where it
    was not judged."""

    name: Precision
    latency_ms: float | None
    verdicts: dict[str, str]
    reason: str


class Choice(Frozen):
    """What ``choice.json`` holds: the shipped variant, why, and every candidate."""

    shipped: Precision
    reason: str
    eager_ms: float | None
    candidates: tuple[Candidate, ...]
