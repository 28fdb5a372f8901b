"""The artifacts of stages that only a pipeline has, and what the records of the others say: read without any stage's tools."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import TypeAdapter

from bundle.base.strict_json import dumps
from bundle.formats.artifacts import Artifact, Engine, Folded, Quantized
from bundle.formats.fold import FoldPart, FoldSettings
from targets.base import EngineStatus, Variant


class ReferenceVectors(Artifact):
    """The evaluation images, their labels and the unfolded checkpoint's answers: vectors.npz."""

    kind: ClassVar[str] = "vectors"


class Judged(Artifact):
    """Which variant is shipped and why: regression.json, bench.json, choice.json."""

    kind: ClassVar[str] = "judged"


def variants_of(quantized: Quantized | Engine) -> tuple[Variant, ...]:
    """Return the variants an artifact holds."""
    return TypeAdapter(tuple[Variant, ...]).validate_json(dumps(quantized.record.settings["variants"]))


def status_of(engine: Engine) -> EngineStatus:
    """Return whether the engine was built here, and how, or why not."""
    status: EngineStatus = TypeAdapter(EngineStatus).validate_json(dumps(engine.record.settings["status"]))
    return status


def folding_of(folded: Folded) -> FoldSettings:
    """Return how the graph was folded: the proof, and what each part of the model costs before and after."""
    return FoldSettings.model_validate(folded.record.settings["fold"])


def total(parts: Sequence[FoldPart]) -> FoldPart:
    """Return the sum of all parts."""
    names = [name for name in FoldPart.model_fields if name != "part"]
    sums = {name: sum(int(getattr(part, name)) for part in parts) for name in names}
    return FoldPart.model_validate({"part": "all", **sums})


def savings(folded: Folded) -> str:
    """Say in one line what folding saved: MACs, megabytes moved and parameters of one image."""
    whole = total(folding_of(folded).parts)
    return (
        f"{whole.macs_before / 1e9:.3g} → {whole.macs_after / 1e9:.3g} GMAC, "
        f"{whole.bytes_before / 1e6:.3g} → {whole.bytes_after / 1e6:.3g} MB moved, "
        f"{whole.params_before / 1e6:.3g} → {whole.params_after / 1e6:.3g} M parameters"
    )
