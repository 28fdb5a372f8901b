"""One image through the compiled model: the arrays of every figure of every task, and how alike the answers are.

What is measured of an image has a few kilobytes and never needs the image again. A journal keeps it
(bundle/judging/resume.py), a verdict resamples it (bundle/judging/verdict.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import ArtifactError
from bundle.formats.artifacts import TensorSpec
from bundle.formats.io_forms import FORMS, prediction
from bundle.formats.manifest import Manifest
from bundle.formats.stored_maps import kept, kept_output
from bundle.formats.vectors import EvaluationSample
from bundle.judging import frames
from bundle.tasks.agreement import ENERGIES, energy
from bundle.tasks.fit import judged
from bundle.tasks.kinds.kind import Kind
from bundle.tasks.postprocess import predict
from bundle.tasks.spec import Array
from bundle.tasks.table import Task, task

Floats: TypeAlias = NDArray[np.float64]
Infer: TypeAlias = Callable[[dict[str, Array]], Mapping[str, Array]]
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """What one image showed of one task. NaN: nothing to compare with.

    ``figures`` maps a figure's key to its per-image array. ``agreement`` and ``change`` are
    those of the task's kind, both against the kept prediction; ``full_change`` and ``energies`` are against the full output.
    """

    figures: dict[str, Floats]
    finite: bool
    agreement: float
    change: float
    full_change: float
    energies: Floats


def feed(manifest: Manifest, stored: EvaluationSample) -> dict[str, Array]:
    """Return what a session of this bundle takes for a stored image: see bundle/formats/io_forms.py."""
    return frames.feed(manifest, stored.image, name=f"image {stored.id!r}")


def evaluate_image(stored: EvaluationSample, infer: Infer, manifest: Manifest) -> dict[str, ImageResult]:
    """Run one image and measure every task; NaN or infinity in an output spoils that task's arrays and no other's.

    Raises:
        ArtifactError: an output is missing or has another name, dtype, shape or range than the manifest says.
    """
    outputs = infer(feed(manifest, stored))
    _check_outputs(outputs, manifest, stored.id)
    return {name: _see(name, outputs[name][0], stored, manifest) for name in manifest.tasks}


def _see(name: str, output: Array, stored: EvaluationSample, manifest: Manifest) -> ImageResult:
    """Measure one image's output of one task, without its batch axis."""
    row = manifest.row(name)
    kind, figures = row.kind, row.figures(manifest.tasks[name])
    nothing = np.zeros(ENERGIES)
    if not np.isfinite(output).all():
        arrays = {figure.name: np.full(figure.shape, np.nan) for figure in figures}
        return ImageResult(
            figures=arrays, finite=False, agreement=NAN, change=NAN, full_change=NAN, energies=nothing + NAN
        )
    made = prediction(manifest.io, row, output)
    pair = compared(row, made, stored, manifest)
    arrays = {figure.name: np.zeros(figure.shape) if pair is None else figure.per_image(*pair) for figure in figures}
    known, full = stored.predictions.get(name), stored.outputs.get(name)
    exact = None if full is None else predict(row, full)
    ours, ours_full = kept(kind, made), kept_output(made)
    reference, answer = (exact, ours_full) if FORMS[manifest.io].maps else (full, kept_output(output))
    return ImageResult(
        figures=arrays,
        finite=True,
        agreement=NAN if known is None else kind.agreement(known, ours),
        change=NAN if known is None else _mean_change(kind, known, ours),
        full_change=NAN if exact is None else _mean_change(kind, exact, ours_full),
        energies=nothing if reference is None else energy(reference, answer),
    )


def compared(row: Task, prediction: Array, stored: EvaluationSample, manifest: Manifest) -> tuple[Array, Array] | None:
    """Return what a metric compares: a prediction and a label, or by agreement both models' predictions as they are stored.

    None: the reference's prediction is not at hand.
    """
    if not row.agreement:
        return judged(row, prediction, stored.judged(row.name), manifest.dataset)
    known, kind = stored.predictions.get(row.name), row.kind
    return None if known is None else (kind.expand(kind.compact(kept(kind, prediction))), known)


def _mean_change(kind: Kind, reference: Array, prediction: Array) -> float:
    return float(kind.change(reference, prediction).mean())


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
    wrong = task(spec.name).kind.out_of_range(output, manifest.tasks[spec.name]) if FORMS[manifest.io].maps else None
    if wrong is not None:
        raise _broken(f"output {spec.name!r} holds a value that means nothing", *wrong, identifier)


def _broken(message: str, expected: str, got: str, identifier: str) -> ArtifactError:
    return ArtifactError(
        message,
        expected=expected,
        got=got,
        where=f"the compiled model, image {identifier!r}",
        fix="the engine does not belong to this bundle, or its build is broken: build it again",
    )
