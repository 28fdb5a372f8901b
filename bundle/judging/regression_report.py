"""What ``regression.json`` holds: how every task fared, how that was measured, and enough to judge it again later.

Figures that are undefined are null. ``arrays`` keeps the compiled model's per-image arrays, so a later run can be
compared with this one image by image (bundle/judging/baseline.py). It is the last key, because it is large and not
for people.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen, faults
from bundle.base.limits import NotNegative
from bundle.formats.results import Result, open_result, read_result
from bundle.judging.verdict import Cause, Gate, Verdict
from bundle.tasks.metrics import Direction
from bundle.tasks.spec import MetricsAt

RESULT = "regression.json"
LARGEST = 1e100  # of a figure: a hundred times it, as a page shows a share, is finite
ExecutedOn: TypeAlias = Literal["device", "emulation"]


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not abs(value) <= LARGEST else value


Number: TypeAlias = Annotated[float | None, BeforeValidator(_finite)]  # JSON has neither NaN nor infinity: null
Interval: TypeAlias = tuple[Number, Number]


class Device(Frozen):
    """What ran the model: its name and the instruction sets that decide how fast and how exact INT8 is."""

    name: str
    isa: tuple[str, ...]


class Execution(Frozen):
    """How the model was run; ``emulation`` means its numbers were imitated on another machine than the target.

    ``facts`` are the runtime and its effective settings, as it was asked for them after loading.
    """

    device: Device
    precision: str
    executed_on: ExecutedOn
    facts: dict[str, str] = Field(default_factory=dict)


class FigureResult(Frozen):
    """A figure that is reported and gates nothing; ``reference`` is null where the reference was not measured for it."""

    direction: Direction
    reference: Number
    compiled: Number
    drop_relative: Number
    interval: Interval


class TaskResult(Frozen):
    """One task's entry in ``regression.json``. A drop is relative and positive when worse; null is undefined.

    ``labelled_images`` is the number of images that count for the metric, those with a label for the task. ``sqnr_db`` compares the stored full outputs with the compiled model's; null if there is no difference at all.
    ``cause`` explains an extraordinary verdict; ``images_needed`` says about how many images would settle an inconclusive one. ``figures`` are those of
    the task's kind that gate nothing.
    """

    metric: str
    direction: Direction
    reference: Number
    compiled: Number
    drop_relative: Number
    interval: Interval
    budget: NotNegative
    verdict: Verdict
    cause: Cause | None = None
    sqnr_db: Number
    labelled_images: int
    images_needed: int | None = None
    figures: dict[str, FigureResult] = Field(default_factory=dict)


class WorstImage(Frozen):
    """An image on which the compiled model differs most from the reference, and by how much (``TaskCheck.change``)."""

    id: str
    change: Number


class TaskCheck(Frozen):
    """Direct agreement of a task with the reference.

    ``agreement`` is 1 where every pixel is the reference's, 0 where none is. ``cosine`` is that of the full outputs.
    ``change`` is the mean difference per pixel in ``change_unit``. All are null where there is nothing to compare with.
    ``nonfinite_images`` counts images with NaN or infinity in the output, ``nonfinite`` are the ids of the first ones.
    """

    nonfinite_images: int
    nonfinite: tuple[str, ...] = ()
    agreement: Number
    cosine: Number = None
    change: Number = None
    change_unit: str = ""
    worst: tuple[WorstImage, ...] = ()


class VariantTask(Frozen):
    """One task of one variant: a ``TaskResult`` without its metric's name, which the report's ``tasks`` say."""

    reference: Number
    compiled: Number
    drop_relative: Number
    interval: tuple[Number, Number]
    budget: NotNegative
    verdict: Verdict
    sqnr_db: Number = None
    labelled_images: int


class VariantRow(Frozen):
    """One variant that was tried, shipped or not, and why; ``tasks`` is empty where it was not judged.

    ``median_ms`` is null where time means nothing (an emulation) or was not taken; ``bytes`` are those of its files.
    """

    name: str
    precision: str
    tasks: dict[str, VariantTask] = Field(default_factory=dict)
    passed: bool
    median_ms: Number = None
    bytes: int
    isa: tuple[str, ...] = ()
    reason: str = ""


class BaselineResult(Frozen):
    """How this run compares with an earlier one: in ``tasks`` the earlier run's figures are the reference."""

    model: str
    target: str
    device: Device
    precision: str
    executed_on: ExecutedOn
    tasks: dict[str, VariantTask]
    delta_m: Number
    passed: bool


class PackedArrays(Frozen):
    """The per-image arrays of the figures that are gated, by task, for the images ``ids`` (see bundle/judging/baseline.py)."""

    ids: tuple[str, ...]
    tasks: dict[str, str]


class RegressionReport(Result):
    """What ``regression.json`` holds.

    ``variants`` has a row for every variant that was tried, where whoever made the report compared several.
    ``source`` names the images, ``session`` the runtime and its effective settings, ``checks`` the direct agreement.
    ``variant`` is the one that was judged. ``chosen_by``: it was asked for by name, or is that of the bundle's choice
    or of its build. ``chosen`` is the same in words, for people. ``metrics_at`` is the size at which metrics
    against labels are (``DatasetSpec``); an agreement is at the model's. It is a key of schema 4; schema 3 is as it was.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Literal[3, 4] = Field(default=3, alias="schema")
    model: str
    target: str
    device: Device
    precision: str
    executed_on: ExecutedOn
    images: int
    tasks: dict[str, TaskResult]
    delta_m: Number
    passed: bool
    variants: tuple[VariantRow, ...] = ()
    delta_m_interval: Interval = (None, None)
    gate: Gate = "one-sided"
    source: str = "the bundle's images"
    variant: str = ""
    chosen_by: Literal["name", "choice", "build"] | None = None
    chosen: str = ""
    session: dict[str, str] = Field(default_factory=dict)
    checks: dict[str, TaskCheck] = Field(default_factory=dict)
    baseline: BaselineResult | None = None
    metrics_at: MetricsAt = "model"
    arrays: PackedArrays | None = None

    @model_serializer(mode="wrap")
    def _without_size(self, write: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # a type hides the schema
        return {name: value for name, value in write(self).items() if (name, value) != ("metrics_at", "model")}

    @model_validator(mode="after")
    def _version_has_size(self) -> "RegressionReport":
        if self.metrics_at != "model" and self.schema_version < 4:
            raise ValueError("metrics_at is a key of schema 4")
        return self


def verdicts_of(report: RegressionReport) -> dict[str, Verdict]:
    """Return the verdict of each task."""
    return {name: result.verdict for name, result in report.tasks.items()}


def variant_tasks(report: RegressionReport) -> dict[str, VariantTask]:
    """Return the ``tasks`` of a variant's row from its own report."""
    kept = set(VariantTask.model_fields)
    return {name: VariantTask.model_validate(result.model_dump(include=kept)) for name, result in report.tasks.items()}


def read_report(folder: Path) -> RegressionReport:
    """Read ``regression.json`` from a folder.

    Raises:
        ArtifactError: there is none, it was altered or belongs to another bundle, or it is not of this schema.
    """
    try:
        return parse_report(read_result(folder, RESULT), folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _unread(folder, error) from error


def parse_report(content: bytes, folder: Path) -> RegressionReport:
    """Return the report that the bytes of a regression.json hold; ``folder`` is where it is from.

    Raises:
        ArtifactError: it is not of this schema.
    """
    try:
        return RegressionReport.model_validate_json(content)
    except ValidationError as error:
        raise _unread(folder, error) from error


def _unread(folder: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{RESULT} cannot be read",
        expected="schema 3 or 4",
        got=faults(error),
        where=str(folder / RESULT),
        fix="run pytest tests/regression --bundle on this bundle",
    )


def open_report(path: Path) -> RegressionReport:
    """Read a regression.json wherever it is and whatever its name, as one that was sent back.

    Raises:
        ArtifactError: there is none, it was altered, or it is not of this schema.
    """
    try:
        return RegressionReport.model_validate_json(open_result(path))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValidationError) as error:
        raise ArtifactError(
            f"{path.name} is no result of a regression",
            expected="a regression.json of schema 3 or 4",
            got=faults(error),
            where=str(path),
            fix="name the file that pytest tests/regression or tdss regress wrote; judge again if an older version did",
        ) from error
