"""Which images a page shows, from stored arrays alone: no model runs before the choice is made."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.formats.manifest import Manifest
from bundle.formats.vectors import Vectors
from bundle.judging.baseline import unpack
from bundle.judging.regression_report import RegressionReport
from bundle.tasks.table import Task, task

Floats = NDArray[np.float64]
RANKS = ("worst", "median", "best")


def scores(row: Task, channels: int, arrays: Floats) -> Floats:
    """Return each image's own metric from per-image arrays ``[N, …]``: float64 ``[N]``, NaN where nothing counts."""
    return row.judge(channels).reduce_many(arrays)


def reference_scores(manifest: Manifest, vectors: Vectors) -> dict[str, Floats]:
    """Return each task's scores of all images, from the stored arrays: they were measured on exact predictions."""
    rows = {name: manifest.row(name) for name in manifest.tasks}
    return {
        name: scores(row, manifest.tasks[name], vectors.gated(row, manifest.tasks[name])) for name, row in rows.items()
    }


def losses(manifest: Manifest, vectors: Vectors, report: RegressionReport | None) -> dict[str, Floats] | None:
    """Return by how much the compiled model's score of each image is worse than the reference's, float64 ``[N]`` by task.

    NaN: the image counts for no metric. None: no judgement of the bundle's own images is at hand.
    """
    kept = None if report is None else report.arrays
    rows = {name: index for index, name in enumerate(vectors.ids)}
    if kept is None or not set(kept.ids) <= set(rows) or set(kept.tasks) != set(manifest.tasks):
        return None
    lost = {}
    for name, before in reference_scores(manifest, vectors).items():
        row, channels = manifest.row(name), manifest.tasks[name]
        after = np.full(len(before), np.nan)
        arrays = unpack(kept.tasks[name], (len(kept.ids), *row.judge(channels).shape))
        after[[rows[identifier] for identifier in kept.ids]] = scores(row, channels, arrays)
        lost[name] = before - after if row.direction == "higher" else after - before
    return lost


def extremes(row: Task, reference: Floats, loss: Floats | None) -> dict[int, str]:
    """Return index → rank: of the images that count, the one that lost most, the middle one, and the one that lost least.

    Where losses are equal, or none are known, the reference's own score ``[N]`` decides: the worst first.
    """
    lost = np.zeros(len(reference)) if loss is None else loss
    good = reference if row.direction == "higher" else -reference
    order = [int(index) for index in np.lexsort((good, -lost)) if not np.isnan(lost[index] + good[index])]
    if not order:
        return {}
    ranked: dict[int, str] = {}
    for rank, index in zip(RANKS, (order[0], order[(len(order) - 1) // 2], order[-1]), strict=True):
        ranked.setdefault(index, rank)
    return ranked


def ranks(values: Floats, row: Task) -> Floats:
    """Return each image's rank among those that count, 0 (worst) to 1 (best), equal values sharing one; else NaN."""
    good = values if row.direction == "higher" else -values
    counted = np.sort(good[~np.isnan(good)])
    if counted.size < 2:
        return np.full(values.shape, np.nan)
    middle = (np.searchsorted(counted, good, "left") + np.searchsorted(counted, good, "right") - 1) / 2
    return np.where(np.isnan(good), np.nan, middle / (counted.size - 1))


def choose(ids: Sequence[str], table: Mapping[str, Floats]) -> dict[str, str]:
    """Return id → rank for the worst, the median and the best image by the mean rank of its scores over the tasks.

    ``table`` is ``reference_scores``; it is the choice of a picture that shows all tasks of an image.
    """
    ranked = np.stack([ranks(values, task(name)) for name, values in table.items()])
    counts = (~np.isnan(ranked)).sum(axis=0)
    mean = np.nansum(ranked, axis=0) / np.maximum(counts, 1)
    full = np.flatnonzero(counts == counts.max())
    order = full[np.argsort(mean[full], kind="stable")]
    picks = (order[0], order[(len(order) - 1) // 2], order[-1])
    chosen: dict[str, str] = {}
    for rank, index in zip(RANKS, picks, strict=True):
        chosen.setdefault(ids[index], rank)
    return chosen
