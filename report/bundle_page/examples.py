"""The pictures of each task's chosen images: input, label, reference, compiled, and what changed, side by side."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from bundle.formats.io_forms import prediction
from bundle.formats.manifest import Bundle, Manifest
from bundle.formats.vectors import EvaluationSample, Vectors
from bundle.judging import wording
from bundle.judging.evaluate_image import Infer, compared, feed
from bundle.judging.ranking import extremes, losses, reference_scores
from bundle.judging.regression_report import RegressionReport
from bundle.tasks.dataset import decode_label
from bundle.tasks.kinds.colours import Inks
from bundle.tasks.spec import Array, DatasetSpec
from bundle.tasks.table import Task, task
from report.bundle_page.views import Example, ImagesView, Legend, LegendEntry, Picture, TaskExamples
from report.drawing.image_encoding import address, jpeg_address

NOT_RUN = "The compiled model's answers are not shown: it was not run for this page."
CHANGED = "most changed"
HOW_LOST = (
    "For each task the image whose own score the compiled model loses most on, the middle one, and the one it loses least "
    "(or gains most) on; then the one whose answer changed most, if it is another. The score under a picture is this image's alone."
)
HOW_SCORED = (
    "For each task the worst, the median and the best image by the reference's own score. The score under a picture is "
    "this image's alone."
)

Answers: TypeAlias = Mapping[str, Array | None]
"""Predictions by task; None where the raw output held NaN or infinity. Empty if the compiled model did not run."""


def answer(manifest: Manifest, stored: EvaluationSample, infer: Infer) -> Answers:
    """Run the compiled model on a stored image; its predictions are as bundle/tasks/postprocess.py gives them.

    Raises:
        GraphError: an output has not its task's dtype or shape.
    """
    outputs = infer(feed(manifest, stored))
    return {name: _prediction(manifest, task(name), outputs[name][0]) for name in manifest.tasks}


def _prediction(manifest: Manifest, row: Task, output: Array) -> Array | None:
    if not np.isfinite(output).all():
        return None
    return prediction(manifest.io, row, output)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One image to show: what the bundle holds of it, the reference's scores by task, the compiled model's answers."""

    stored: EvaluationSample
    reference: Mapping[str, float]
    compiled: Answers


def examples_view(bundle: Bundle, infer: Infer | None, report: RegressionReport | None) -> ImagesView:
    """Draw each task's images, with the compiled model's answers if ``infer`` runs it: once for each image.

    ``report`` has what each image lost and which one changed most.
    """
    manifest = bundle.manifest
    with Vectors(bundle.vectors) as vectors:
        table, lost = reference_scores(manifest, vectors), losses(manifest, vectors, report)
        picks = {
            name: extremes(manifest.row(name), values, None if lost is None else lost[name])
            for name, values in table.items()
        }
        for name, ranked in picks.items():
            changed = changed_most(report, name)
            if changed in vectors.ids:
                ranked.setdefault(vectors.ids.index(changed), CHANGED)
        wanted = {index for ranked in picks.values() for index in ranked}
        shown = {
            index: Shown(
                stored=stored,
                reference={name: float(values[index]) for name, values in table.items()},
                compiled={} if infer is None else answer(manifest, stored, infer),
            )
            for index, stored in enumerate(vectors.images())
            if index in wanted
        }
    return ImagesView(
        how=HOW_SCORED if lost is None else HOW_LOST,
        reason=NOT_RUN if infer is None else "",
        tasks=tuple(_task(manifest.row(name), ranked, shown, manifest) for name, ranked in picks.items()),
        legends=_legends(manifest.dataset),
        scales=_scales(manifest.tasks, shown=infer is not None),
    )


def changed_most(report: RegressionReport | None, name: str) -> str:
    """Return the image on which a task's answer changed most, as the judgement measured it; "" where none changed."""
    check = None if report is None else report.checks.get(name)
    worst = check.worst[0] if check is not None and check.worst else None
    return worst.id if worst is not None and worst.change else ""


def _task(row: Task, ranked: Mapping[int, str], shown: Mapping[int, Shown], manifest: Manifest) -> TaskExamples:
    return TaskExamples(
        task=row.name,
        metric=wording.metric_name(row.metric),
        examples=tuple(_example(rank, shown[index], row, manifest) for index, rank in ranked.items()),
    )


def _example(rank: str, shown: Shown, row: Task, manifest: Manifest) -> Example:
    stored, ours = shown.stored, shown.compiled.get(row.name)
    encoded, reference = stored.labels.get(row.name), stored.shown(row.name)
    label = None if encoded is None else decode_label(row.name, encoded, manifest.dataset)
    colours = row.kind.inks(manifest.dataset.palettes.get(row.name, ()), reference if label is None else label)
    pictures = [
        Picture(address=jpeg_address(stored.image), name="input", score=""),
        *([] if label is None else [_picture(row, label, colours, "label", "")]),
        _picture(row, reference, colours, "reference", _score(row, shown.reference[row.name])),
    ]
    note = row.kind.span(colours)
    if ours is not None:
        judge = row.judge(manifest.tasks[row.name])
        pair = compared(row, ours, stored, manifest)
        score = "" if pair is None else _score(row, judge.reduce(judge.per_image(*pair)))
        changed = address(row.kind.draw_change(reference, ours))
        pictures += [
            _picture(row, ours, colours, "compiled", score),
            Picture(address=changed, name="what changed", score=f"yellow: {row.kind.change_scale[1]}"),
        ]
    elif row.name in shown.compiled:
        note = f"{note} The compiled model's output holds NaN or infinity and cannot be drawn.".strip()
    height, width = stored.image.shape[:2]
    return Example(rank=rank, id=stored.id, note=note, width=width, height=height, pictures=tuple(pictures))


def _score(row: Task, value: float) -> str:
    return "does not count here" if np.isnan(value) else wording.metric_value(row.metric, value)


def _picture(row: Task, values: Array, colours: Inks, name: str, score: str) -> Picture:
    return Picture(address=address(row.kind.draw(values, colours)), name=name, score=score)


def _legends(spec: DatasetSpec) -> tuple[Legend, ...]:
    return tuple(
        Legend(
            task=name,
            entries=tuple(
                LegendEntry(colour=f"rgb({red},{green},{blue})", name=label)
                for label, (red, green, blue) in zip(names, spec.palettes[name], strict=True)
            ),
        )
        for name, names in spec.classes.items()
    )


def _scales(names: Iterable[str], *, shown: bool) -> str:
    drawn = [f"{name.replace('_', ' ').capitalize()}: {words}." for name in names if (words := task(name).kind.drawn)]
    words = " ".join([*drawn, "Pictures of many colours are JPEG."])
    if not shown:
        return words
    return (
        f"{words} What changed is drawn from the reference to the compiled model, dark where they are equal. The reference "
        "is kept with 8 or 16 bits, so a trace of change is rounding."
    )
