"""The regression harness: run a compiled model on the stored images and judge every task against the reference.

The same function runs at the end of a build and on the device. It holds one image at a time, needs no torch, and
does not know what runs the graph: the caller gives ``infer`` and says what it ran on.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from bundle.artifacts import TensorSpec
from bundle.dataset import Array, decode_label
from bundle.errors import ArtifactError, RegressionFailed
from bundle.frozen import Frozen
from bundle.manifest import Bundle, Manifest
from bundle.metrics import Floats, metric
from bundle.postprocess import predict
from bundle.results import read_result, write_result
from bundle.tasks import Activation, Direction, task
from bundle.vectors import Stored, Vectors
from bundle.verdict import RESAMPLES, Judgement, Verdict, delta_m, judge

RESULT = "regression.json"
ExecutedOn: TypeAlias = Literal["device", "emulation"]
Infer: TypeAlias = Callable[[dict[str, Array]], Mapping[str, Array]]


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not np.isfinite(value) else value


Number: TypeAlias = Annotated[float | None, BeforeValidator(_finite)]  # NaN and infinity become null: JSON has neither


class Device(Frozen):
    """What ran the model: its name and the instruction sets that decide how fast and how exact INT8 is."""

    name: str
    isa: tuple[str, ...]


class Execution(Frozen):
    """How the model was run; ``emulation`` means its numbers were imitated on another machine than the target."""

    device: Device
    precision: str
    executed_on: ExecutedOn


class TaskResult(Frozen):
    """One task's entry in ``regression.json``. A drop is relative and positive when worse; null is undefined.

    ``sqnr_db`` compares the stored full outputs with the compiled model's; null if there is no difference at all.
    """

    metric: str
    direction: Direction
    reference: Number
    compiled: Number
    drop_relative: Number
    interval: tuple[Number, Number]
    budget: float
    verdict: Verdict
    sqnr_db: Number


class TaskCheck(Frozen):
    """What the harness saw besides the contract: ``agreement`` is 1 where every pixel is the reference's, 0 where none is.

    ``nonfinite_images`` counts images with NaN or infinity in the output; ``reason`` explains an extraordinary verdict.
    """

    nonfinite_images: int
    agreement: float
    reason: str


class VariantTask(Frozen):
    """One task of one variant: a ``TaskResult`` without its metric's name, which the report's ``tasks`` say."""

    reference: Number
    compiled: Number
    drop_relative: Number
    interval: tuple[Number, Number]
    budget: float
    verdict: Verdict
    sqnr_db: Number = None


class VariantRow(Frozen):
    """One variant that was tried, shipped or not, and why; ``tasks`` is empty where it was not judged.

    ``median_ms`` is null where time says nothing (an emulation) or was not taken; ``bytes`` are those of its files.
    """

    name: str
    precision: str
    tasks: dict[str, VariantTask] = Field(default_factory=dict)
    passed: bool
    median_ms: Number = None
    bytes: int
    isa: tuple[str, ...] = ()
    reason: str = ""


class RegressionReport(Frozen):
    """What ``regression.json`` holds, and ``checks``, which it does not.

    ``variants`` has a row for every variant that was tried, where whoever made the report compared several.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
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
    checks: dict[str, TaskCheck] = Field(default_factory=dict, exclude=True)


class _Tally:
    """What one task's images add up to while they pass by, one at a time."""

    def __init__(self, manifest: Manifest, name: str) -> None:
        self.row = task(name)
        self.metric = metric(self.row, manifest.tasks[name])
        self.manifest = manifest
        self.arrays: list[Floats] = []
        self.agreements: list[float] = []
        self.nonfinite = 0
        self.signal = self.noise = 0.0

    def add(self, output: Array, stored: Stored) -> None:
        """Measure one image's output, without its batch axis."""
        if not np.isfinite(output).all():
            self.nonfinite += 1
            self.noise = float("nan")
            self.arrays.append(np.full(self.metric.shape, np.nan))
            return
        name = self.row.name
        prediction = output if self.manifest.io == "edge" else predict(self.row, output)
        label = decode_label(name, stored.labels[name], self.manifest.dataset)
        self.arrays.append(self.metric.per_image(prediction, label))
        self.agreements.append(agreement(self.row.activation, stored.predictions[name], prediction))
        if name in stored.outputs:
            self._compare(stored.outputs[name], output)

    def _compare(self, reference: Array, output: Array) -> None:
        if self.manifest.io == "edge":
            reference = predict(self.row, reference)
            if self.row.activation == "argmax":  # of one-hot maps: a differing pixel is wrong in two channels
                self.signal += reference.size
                self.noise += 2 * int(np.count_nonzero(reference != output))
                return
        exact = reference.astype(np.float64)
        self.signal += float((exact**2).sum())
        self.noise += float(((exact - output.astype(np.float64)) ** 2).sum())

    @property
    def sqnr_db(self) -> float:
        """10·log10(Σ reference² / Σ difference²) in dB over the images with full outputs; NaN where undefined."""
        defined = self.signal > 0 and self.noise > 0
        return 10 * float(np.log10(self.signal / self.noise)) if defined else float("nan")

    def check(self, judgement: Judgement) -> TaskCheck:
        """Return what was seen besides the verdict."""
        mean = float(np.mean(self.agreements)) if self.agreements else 0.0
        return TaskCheck(nonfinite_images=self.nonfinite, agreement=mean, reason=judgement.reason)


def agreement(activation: Activation, reference: Array, prediction: Array) -> float:
    """Return how alike two predictions are, 0…1, over all pixels.

    ``argmax``: the share of equal pixels. ``sigmoid``: 1 − mean |Δp|. ``unit``: the mean cosine, within 0…1.
    ``relu``: 1 − Σ|Δd| / Σ max(d), the weighted Jaccard index.
    """
    if activation == "argmax":
        return float((reference == prediction).mean())
    ours, theirs = reference.astype(np.float64), prediction.astype(np.float64)
    if activation == "sigmoid":
        return 1.0 - float(np.abs(ours - theirs).mean())
    if activation == "unit":
        return float(np.clip((ours * theirs).sum(axis=0).mean(), 0, 1))
    larger = float(np.maximum(ours, theirs).sum())
    return 1.0 - float(np.abs(ours - theirs).sum()) / larger if larger > 0 else 1.0


def feed(manifest: Manifest, stored: Stored) -> dict[str, Array]:
    """Return what a session of this bundle takes for a stored image: see ``bundle.manifest.interface``."""
    if manifest.io == "edge":
        return {"image": stored.image[None]}
    return {"image": manifest.preprocess.apply(stored.image, name=f"image {stored.id!r}")}


def run(
    bundle: Bundle, infer: Infer, execution: Execution, *, allow_inconclusive: bool = False, resamples: int = RESAMPLES
) -> RegressionReport:
    """Run ``infer`` on every stored image and judge every task.

    NaN or infinity in an output fails that task and no other.

    Raises:
        ArtifactError: an output is missing or has another name, dtype, shape or range than the manifest says.
    """
    manifest = bundle.manifest
    tallies = {name: _Tally(manifest, name) for name in manifest.tasks}
    with Vectors(bundle.vectors) as vectors:
        _check_tasks(vectors, manifest)
        references = {name: vectors.metric(name) for name in tallies}
        for stored in vectors.images():
            outputs = infer(feed(manifest, stored))
            _check_outputs(outputs, manifest, stored.id)
            for name, tally in tallies.items():
                tally.add(outputs[name][0], stored)
    judged = {
        name: judge(
            references[name], np.stack(tally.arrays), tally.metric.reduce_many, tally.row.direction,
            budget=manifest.budgets[name], seed=manifest.seeds.bootstrap, resamples=resamples,
        )
        for name, tally in tallies.items()
    }  # fmt: skip
    accepted = {"pass", "inconclusive"} if allow_inconclusive else {"pass"}
    return RegressionReport(
        model=manifest.name, target=manifest.target, device=execution.device, precision=execution.precision,
        executed_on=execution.executed_on, images=len(vectors.ids),
        tasks={name: _result(tallies[name], judgement, manifest.budgets[name]) for name, judgement in judged.items()},
        delta_m=delta_m([judgement.drop for judgement in judged.values()]),
        passed=all(judgement.verdict in accepted for judgement in judged.values()),
        checks={name: tallies[name].check(judgement) for name, judgement in judged.items()},
    )  # fmt: skip


def variant_tasks(report: RegressionReport) -> dict[str, VariantTask]:
    """Return the ``tasks`` of a variant's row from its own report."""
    kept = set(VariantTask.model_fields)
    return {name: VariantTask.model_validate(result.model_dump(include=kept)) for name, result in report.tasks.items()}


def _result(tally: _Tally, judgement: Judgement, budget: float) -> TaskResult:
    return TaskResult(
        metric=tally.row.metric, direction=tally.row.direction, reference=judgement.reference, compiled=judgement.compiled,
        drop_relative=judgement.drop, interval=judgement.interval, budget=budget, verdict=judgement.verdict,
        sqnr_db=tally.sqnr_db,
    )  # fmt: skip


def _check_tasks(vectors: Vectors, manifest: Manifest) -> None:
    if vectors.tasks != tuple(manifest.tasks):
        raise ArtifactError(
            "vectors.npz and manifest.json name different tasks", expected=str(list(manifest.tasks)),
            got=str(list(vectors.tasks)), where="the bundle", fix="build the bundle again",
        )  # fmt: skip


def _check_outputs(outputs: Mapping[str, Array], manifest: Manifest, identifier: str) -> None:
    expected = [spec.name for spec in manifest.outputs]
    if sorted(outputs) != sorted(expected):
        raise _broken(
            "the outputs have other names than the manifest says", str(expected), str(list(outputs)), identifier
        )
    for spec in manifest.outputs:
        _check_output(outputs[spec.name], spec, manifest, identifier)


def _check_output(output: Array, spec: TensorSpec, manifest: Manifest, identifier: str) -> None:
    if (output.dtype, output.shape) != (np.dtype(spec.dtype), spec.shape):
        got = f"{output.dtype} {list(output.shape)}"
        raise _broken(
            f"output {spec.name!r} has the wrong dtype or shape", f"{spec.dtype} {list(spec.shape)}", got, identifier
        )
    classes = manifest.tasks[spec.name]
    if task(spec.name).activation == "argmax" and manifest.io == "edge" and int(output.max()) >= classes:
        raise _broken(
            f"output {spec.name!r} holds no label map", f"0 to {classes - 1}", str(int(output.max())), identifier
        )


def _broken(message: str, expected: str, got: str, identifier: str) -> ArtifactError:
    return ArtifactError(
        message, expected=expected, got=got, where=f"the compiled model, image {identifier!r}",
        fix="the engine does not belong to this bundle, or its build is broken: build it again",
    )  # fmt: skip


def write_report(folder: Path, report: RegressionReport) -> Path:
    """Write ``regression.json`` into a folder, atomically, sealed if that is a bundle, and return its path."""
    return write_result(folder, RESULT, report.model_dump_json(by_alias=True, indent=2) + "\n")


def read_report(folder: Path) -> RegressionReport:
    """Read ``regression.json`` from a folder; its ``checks`` are empty.

    Raises:
        ArtifactError: there is none, it was altered or belongs to another bundle, or it is not of this schema.
    """
    path = folder / RESULT
    try:
        return RegressionReport.model_validate_json(read_result(folder, RESULT))
    except (FileNotFoundError, NotADirectoryError, ValidationError) as error:
        raise ArtifactError(
            f"{RESULT} cannot be read", expected="schema 1", got=str(error), where=str(path),
            fix="run pytest tests/regression --bundle on this bundle",
        ) from error  # fmt: skip


def sentence(name: str, result: TaskResult, reason: str = "") -> str:
    """Say how a task fared, in one line for people."""
    low, high = result.interval
    values = f"{result.metric} {_text(result.reference, '.4g')} → {_text(result.compiled, '.4g')}"
    drop = f"drop {_text(result.drop_relative, '.2%')} [{_text(low, '.2%')}, {_text(high, '.2%')}]"
    return f"{name}: {values}, {drop}, budget {result.budget:.2%}: {result.verdict}" + (
        f" ({reason})" if reason else ""
    )


def _text(value: float | None, style: str) -> str:
    return "undefined" if value is None else format(value, style)


def require_passed(report: RegressionReport) -> None:
    """Do nothing if the report passed.

    Raises:
        RegressionFailed: naming every task that did not pass, its drop, interval and budget.
    """
    if report.passed:
        return
    checks = {name: report.checks[name].reason if name in report.checks else "" for name in report.tasks}
    failed = [sentence(name, row, checks[name]) for name, row in report.tasks.items() if row.verdict != "pass"]
    raise RegressionFailed(
        f"{report.model} for {report.target} is not within its budgets", expected="verdict pass on every task",
        got="; ".join(failed), where=f"{report.precision}, {report.executed_on}, {report.images} images",
        fix="keep the costly layers in float, ship another variant, or add images if a verdict is inconclusive",
    )  # fmt: skip
