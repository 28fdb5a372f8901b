"""What the fold stage leaves in a bundle: fold.json, a line per decision, and the proof and costs in the manifest's settings."""

from pathlib import Path
from typing import Literal

from pydantic import Field, RootModel, TypeAdapter, ValidationError

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen, faults
from bundle.base.nullable_float import NullableFloat
from bundle.formats.manifest import Manifest
from bundle.formats.results import read_json

FOLD = "fold.json"


class FoldRecord(Frozen):
    """One line of fold.json: a module, a rule, and what was decided.

    The rule ``elimination`` is a value between linear maps, which the reason names: folded is composed into its readers, kept is
    computed. ``task_subset``, ``freeze_gate`` and ``drop_skills`` changed the graph before it was folded. ``form`` is
    the outputs kept, or the gate's tensor; ``keep`` are the elements of the gate that stay.

    ``max_abs_error`` is the largest absolute change of any output that all eliminations caused together, in float64
    on real images. It is 0 where nothing was rewritten, and None for an approximate rewrite. ``drops`` are the
    relative drops of each task that an approximate rewrite alone caused on the search images (null: undefined). ``params``,
    ``macs`` and ``bytes`` (moved for one image) count the nodes that compute the value, the gate's module, or the
    graph (compile/graphs/cost.py).
    """

    module: str
    rule: str
    decision: Literal["folded", "kept"]
    reason: str
    exact: bool
    max_abs_error: float | None
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    bytes_before: int = 0
    bytes_after: int = 0
    keep: tuple[int, ...] = ()
    form: str = ""
    drops: dict[str, NullableFloat] = Field(default_factory=dict)


class FoldRecords(RootModel[tuple[FoldRecord, ...]]):
    """What fold.json holds: one line per decision, in the order in which they were made."""


class FoldProof(Frozen):
    """The fold stage's own check: the largest difference of each output, relative and absolute, folded against unfolded."""

    images: int
    float64: dict[str, float]
    float32: dict[str, float]
    float64_max_abs: dict[str, float] = Field(default_factory=dict)
    float32_max_abs: dict[str, float] = Field(default_factory=dict)


class FoldPart(Frozen):
    """What one part of the model costs for one image, unfolded and folded."""

    part: str
    macs_before: int
    macs_after: int
    bytes_before: int
    bytes_after: int
    params_before: int
    params_after: int


class FoldBox(Frozen):
    """Values of a network that look alike: a ``source`` that is not linear, a value ``inside`` the part drawn, or a kept one ``outside`` it."""

    label: str
    channels: int
    positions: int
    count: int
    kind: Literal["source", "inside", "outside"]


class FoldNet(Frozen):
    """Boxes, and arrows between them: from, to, and whether the first only gates (scales channels by the image)."""

    boxes: tuple[FoldBox, ...]
    arrows: tuple[tuple[int, int, bool], ...]


class FoldPicture(Frozen):
    """One module scope as a network of linear maps, before and after elimination."""

    scope: str
    before: FoldNet
    after: FoldNet


class FoldSettings(Frozen):
    """How the fold stage ran, as the manifest's settings hold it under ``fold``; ``rates`` are targets/<name>/folding.json's."""

    mode: str
    proof: FoldProof
    tasks: tuple[str, ...] = ()
    freeze_gates: bool = False
    parts: tuple[FoldPart, ...] = ()
    picture: FoldPicture | None = None
    rates: dict[str, float] = Field(default_factory=dict)


def read_fold(folder: Path) -> tuple[FoldRecord, ...] | None:
    """Read ``fold.json`` of a bundle; None if there is none.

    Raises:
        ArtifactError: the file is there and is no list of fold decisions.
    """
    return read_json(folder, FOLD, TypeAdapter(tuple[FoldRecord, ...]), "a list of fold decisions")


def read_fold_settings(manifest: Manifest) -> FoldSettings | None:
    """Return how the fold stage ran, its proof and costs, from the manifest's settings; None if they hold nothing of it.

    Raises:
        ArtifactError: the settings hold something else under ``fold``.
    """
    if "fold" not in manifest.settings:
        return None
    try:
        return FoldSettings.model_validate(manifest.settings["fold"])
    except ValidationError as error:
        raise ArtifactError(
            "the fold's settings cannot be read",
            expected="mode and proof",
            got=faults(error),
            where="manifest.json",
            fix="build the bundle again with this version of the project",
        ) from error
