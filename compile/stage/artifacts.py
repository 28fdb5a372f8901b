"""The settings in each stage's record, and the artifacts that only a pipeline has: read without any stage's tools."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from bundle.base.frozen import Frozen
from bundle.base.nullable_float import NullableFloat
from bundle.formats.artifacts import Artifact, Engine, Folded, Quantized
from bundle.formats.fold import FoldPart, FoldSettings
from compile.stage.compare import OutputError
from compile.stage.graph_info import GraphSettings, read_settings
from targets.base import EngineStatus, QuantizationScheme, Variant


class ReferenceVectors(Artifact):
    """The evaluation images, their labels and the unfolded checkpoint's answers: vectors.npz."""

    kind: ClassVar[str] = "vectors"


class Judged(Artifact):
    """Which variant is shipped and why: regression.json, bench.json, choice.json."""

    kind: ClassVar[str] = "judged"


class ExportedSettings(GraphSettings):
    """How far the exported graph is from the checkpoint, output by output; ``changes`` is what was done to a
    foreign network, or to a checkpoint for images of another size."""

    opset: int
    check: tuple[OutputError, ...]
    changes: tuple[str, ...] = ()


class Preparation(Frozen):
    """What became of a graph before it is folded: simplified; kept, for a reason; or taken as it came from elsewhere.

    ``renamed`` is the number of nodes that got a name of their own, ``changes`` what else was done to a foreign file.
    """

    outcome: Literal["simplified", "kept", "imported"]
    reason: str = ""
    renamed: int = 0
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in a few words."""
        if self.outcome == "kept":
            return f"kept the exported graph: {self.reason}"
        if self.outcome == "imported":
            names = (f"new names for {self.renamed} nodes",) if self.renamed else ()
            return "; ".join((*self.changes, *names)) or "taken as it is"
        return "simplified"


class Operators(Frozen):
    """The nodes of a graph by operator, before and after a stage."""

    before: dict[str, int]
    after: dict[str, int]


class SimplifiedSettings(GraphSettings):
    """``rewrites`` are the sites that each of a target's passes rewrote, with how far that moved the outputs."""

    preparation: Preparation
    operators: Operators | None = None
    rewrites: dict[str, int] = Field(default_factory=dict)
    check: tuple[OutputError, ...] = ()


class FoldedSettings(GraphSettings):
    """How the graph was folded: the proof, and what each part of the model costs before and after."""

    fold: FoldSettings
    preparation: Preparation


class Range(Frozen):
    """The largest magnitude of a tensor over all images; 0 where it is 0 everywhere, NaN where a file says null: NaN or infinity.

    ``divisor`` is the smallest magnitude, of a tensor that something is divided by or whose logarithm is taken.
    """

    tensor: str
    largest: NullableFloat
    divisor: float | None = None


class Fp16Note(Frozen):
    """Which nodes of a graph in FP16 are float32: how many, and by name those around a tensor that FP16 does not hold.

    ``tensors`` is how many were measured, ``headroom`` the factor by which others may be larger.
    """

    tensors: int
    headroom: float
    kept_by_range: dict[str, str]
    float32: int
    widest: tuple[Range, ...]


class VariantNote(Frozen):
    """How a variant was made. ``ignored_nodes`` were never quantized, with the reasons; ``dequantized`` are in float again."""

    scheme: QuantizationScheme | None = None
    ignored_nodes: dict[str, str] = Field(default_factory=dict)
    dequantized: tuple[str, ...] = ()
    passes: dict[str, int] = Field(default_factory=dict)
    fp16: Fp16Note | None = None


class OutputFidelity(Frozen):
    """How much of an output is left: its SQNR in dB, within ± 200, and its cosine to the float graph's, NaN of an output of zeros.

    ``below_floor``: the output is so small on these images that they do not show what is lost.
    """

    output: str
    sqnr_db: float
    cosine: NullableFloat
    labels: bool
    below_floor: bool


class VariantFidelity(Frozen):
    """A variant on images held out of calibration. ``int8_share`` is that of the multiply-accumulates, None of a graph without
    quantizers; ``median_ms`` is None where the device is not here.
    """

    variant: str
    outputs: tuple[OutputFidelity, ...]
    int8_share: float | None
    median_ms: float | None


class QuantizedSettings(GraphSettings):
    """The variants, how each was made, and how far each is from the float graph, output by output.

    ``fidelity`` is measured of a foreign file, whose outputs no label judges later.
    """

    target: str
    variants: tuple[Variant, ...]
    notes: dict[str, VariantNote]
    checks: dict[str, tuple[OutputError, ...]]
    fidelity: tuple[VariantFidelity, ...] = ()


class EngineSettings(GraphSettings):
    """The variants, and whether their engines were built here, and how, or why not."""

    target: str
    variants: tuple[Variant, ...]
    status: EngineStatus = Field(discriminator="status")


class VectorsSettings(Frozen):
    """The images that judge a bundle: the ids drawn, and the hard ones with their reasons, among ``candidates`` looked at."""

    images: int
    hard: dict[str, str]
    candidates: int
    ids: tuple[str, ...]


class _Variants(Frozen, extra="ignore"):
    variants: tuple[Variant, ...]


def variants_of(artifact: Quantized | Engine) -> tuple[Variant, ...]:
    """Return the variants an artifact holds."""
    return read_settings(_Variants, artifact).variants


def folding_of(folded: Folded) -> FoldSettings:
    """Return how the graph was folded."""
    return read_settings(FoldedSettings, folded).fold


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
