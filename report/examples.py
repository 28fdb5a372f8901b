"""Which images the page shows, and their pictures: input, label, reference, compiled, and what changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.dataset import Array, DatasetSpec, decode_label
from bundle.manifest import Bundle, Manifest
from bundle.metrics import metric
from bundle.postprocess import predict
from bundle.regression import Infer, feed
from bundle.tasks import Task, task
from bundle.vectors import Stored, Vectors
from report import wording
from report.draw import CHANGE_SCALE, Inks, depth_span, draw, draw_change
from report.encode import jpeg_address, png_address
from report.view import Example, ImagesView, Legend, LegendEntry, Picture, Sheet

NOT_RUN = "The compiled model's answers are not shown: it was not at hand when this page was written."
PLACES = ("worst", "median", "best")
CHANGED = "most changed"


def scores(row: Task, channels: int, arrays: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each image's own metric from per-image arrays ``[N, …]``: float64 ``[N]``, NaN where nothing counts."""
    return metric(row, channels).reduce_many(arrays)


def ranks(values: NDArray[np.float64], row: Task) -> NDArray[np.float64]:
    """Return each image's place among those that count, 0 (worst) to 1 (best), equal values sharing one; else NaN."""
    good = values if row.direction == "higher" else -values
    counted = np.sort(good[~np.isnan(good)])
    if counted.size < 2:
        return np.full(values.shape, np.nan)
    middle = (np.searchsorted(counted, good, "left") + np.searchsorted(counted, good, "right") - 1) / 2
    return np.where(np.isnan(good), np.nan, middle / (counted.size - 1))


def reference_scores(manifest: Manifest, vectors: Vectors) -> dict[str, NDArray[np.float64]]:
    """Return each task's scores of all images, from the stored arrays: they were measured on exact predictions."""
    return {name: scores(task(name), n, vectors.metric(name)) for name, n in manifest.tasks.items()}


def choose(ids: Sequence[str], table: Mapping[str, NDArray[np.float64]]) -> dict[str, str]:
    """Return id → place for the worst, the median and the best image by the mean rank of its scores over the tasks.

    ``table`` is ``reference_scores``: the choice needs no compiled model, so a device and a host show the same images.
    """
    ranked = np.stack([ranks(values, task(name)) for name, values in table.items()])
    counts = (~np.isnan(ranked)).sum(axis=0)
    mean = np.nansum(ranked, axis=0) / np.maximum(counts, 1)
    full = np.flatnonzero(counts == counts.max())
    order = full[np.argsort(mean[full], kind="stable")]
    picks = (order[0], order[(len(order) - 1) // 2], order[-1])
    places: dict[str, str] = {}
    for place, index in zip(PLACES, picks, strict=True):
        places.setdefault(ids[index], place)
    return places


Answers: TypeAlias = Mapping[str, Array | None]
"""Predictions by task; None where the raw output held NaN or infinity. Empty if the compiled model did not run."""


def answer(manifest: Manifest, stored: Stored, infer: Infer) -> Answers:
    """Run the compiled model on a stored image; its predictions are as bundle/postprocess.py gives them.

    Raises:
        GraphError: an output has not its task's dtype or shape.
    """
    outputs = infer(feed(manifest, stored))
    return {name: _prediction(manifest, task(name), outputs[name][0]) for name in manifest.tasks}


def _prediction(manifest: Manifest, row: Task, output: Array) -> Array | None:
    if not np.isfinite(output).all():
        return None
    return output if manifest.io == "edge" else predict(row, output)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One image to show: what the bundle holds of it, the reference's scores by task, the compiled model's answers."""

    stored: Stored
    reference: Mapping[str, float]
    compiled: Answers


def examples_view(bundle: Bundle, infer: Infer | None, changed: str | None = None) -> ImagesView:
    """Draw the chosen images, with the compiled model's answers if ``infer`` runs it.

    ``changed`` is the image that the judgement found changed most; it is shown too.
    """
    manifest = bundle.manifest
    with Vectors(bundle.vectors) as vectors:
        ids, table = vectors.ids, reference_scores(manifest, vectors)
        picks = choose(ids, table)
        if changed in ids:
            picks.setdefault(str(changed), CHANGED)
        shown = {
            stored.id: Shown(
                stored=stored,
                reference={name: float(values[index]) for name, values in table.items()},
                compiled={} if infer is None else answer(manifest, stored, infer),
            )
            for index, stored in enumerate(vectors.images())
            if stored.id in picks
        }
    return ImagesView(
        how=(
            f"The worst, the median and the best of {wording.plural(len(ids), 'image')} by the reference's mean rank over "
            "the tasks, among the images that count for the most tasks; then the one whose answers changed most, if it is another. The score under a picture is this image's alone."
        ),
        reason=NOT_RUN if infer is None else "",
        examples=tuple(_example(place, shown[name], manifest) for name, place in picks.items()),
        legends=_legends(manifest.dataset),
        scales=_scales(shown=infer is not None),
    )


def _example(place: str, shown: Shown, manifest: Manifest) -> Example:
    stored = shown.stored
    height, width = stored.image.shape[:2]
    return Example(
        title=f"The {place} image:",
        note=stored.id,
        id=stored.id,
        image=jpeg_address(stored.image),
        width=width,
        height=height,
        sheets=tuple(_sheet(task(name), n, shown, manifest.dataset) for name, n in manifest.tasks.items()),
    )


def inks(row: Task, label: Array, spec: DatasetSpec) -> Inks:
    """Return the colours of a task's pictures of one image: one palette and one depth span for all of them."""
    near, far = depth_span(label) if row.activation == "relu" else (0.0, 1.0)
    return Inks(palette=spec.palettes.get(row.name, ()), near_m=near, far_m=far)


def _sheet(row: Task, channels: int, shown: Shown, spec: DatasetSpec) -> Sheet:
    stored, ours = shown.stored, shown.compiled.get(row.name)
    label, reference = decode_label(row.name, stored.labels[row.name], spec), stored.shown(row.name)
    colours = inks(row, label, spec)
    pictures = [
        _picture(row, label, colours, "label", ""),
        _picture(row, reference, colours, "reference", _score(row, shown.reference[row.name])),
    ]
    note = wording.metric_name(row.metric) + _span(row, colours)
    if ours is not None:
        judge = metric(row, channels)
        score = _score(row, judge.reduce(judge.per_image(ours, label)))
        changed = png_address(draw_change(row, reference, ours))
        pictures += [
            _picture(row, ours, colours, "compiled", score),
            Picture(address=changed, name="what changed", score=f"yellow: {CHANGE_SCALE[row.activation][1]}"),
        ]
    elif row.name in shown.compiled:
        note += "; the compiled model's output holds NaN or infinity and cannot be drawn"
    return Sheet(task=row.name, note=note, pictures=tuple(pictures))


def _span(row: Task, colours: Inks) -> str:
    return f", {colours.near_m:.1f} to {colours.far_m:.1f} m" if row.activation == "relu" else ""


def _score(row: Task, value: float) -> str:
    return "does not count here" if np.isnan(value) else wording.metric_value(row.metric, value)


def _picture(row: Task, values: Array, colours: Inks, name: str, score: str) -> Picture:
    return Picture(address=png_address(draw(row, values, colours)), name=name, score=score)


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


def _scales(*, shown: bool) -> str:
    words = (
        "Depth: yellow is near, dark blue far, black is not labelled. Normals: red to the right, green up, blue toward the "
        "camera, black is not labelled. Grey in a label map is not labelled."
    )
    if not shown:
        return words
    return (
        f"{words} What changed is drawn from the reference to the compiled model, dark where they are equal. The reference "
        "is kept with 8 bits (depth: 16), so a trace of change is rounding."
    )
