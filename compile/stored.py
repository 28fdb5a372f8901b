"""The artifacts of stages that only a pipeline has: what the reference said, and how the variants were judged."""

from typing import ClassVar

from bundle.artifacts import Artifact


class ReferenceVectors(Artifact):
    """The evaluation images, their labels and the unfolded checkpoint's answers: vectors.npz."""

    kind: ClassVar[str] = "vectors"


class Judged(Artifact):
    """Which variant is shipped and why: regression.json, bench.json, choice.json."""

    kind: ClassVar[str] = "judged"
