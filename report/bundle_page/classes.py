"""IoU of each class of a label map: the reference's and the compiled model's, from the stored per-image arrays."""

import numpy as np
from numpy.typing import NDArray

from bundle.formats.manifest import Bundle
from bundle.formats.vectors import Vectors
from bundle.judging import wording
from bundle.judging.baseline import unpack
from bundle.judging.regression_report import RegressionReport
from bundle.tasks.table import task
from report.bundle_page.views import ClassRow, TaskClasses

Floats = NDArray[np.float64]


def class_views(bundle: Bundle, report: RegressionReport | None) -> tuple[TaskClasses, ...]:
    """Return a table of classes for each task of label maps; none where the report keeps no arrays of the bundle's own images."""
    kept = None if report is None else report.arrays
    with Vectors(bundle.vectors) as vectors:
        rows = {identifier: index for index, identifier in enumerate(vectors.ids)}
        if kept is None or not set(kept.ids) <= set(rows):
            return ()
        counted = [rows[identifier] for identifier in kept.ids]
        names = {name: n for name, n in bundle.manifest.tasks.items() if task(name).channels is None}
        return tuple(
            TaskClasses(
                task=name,
                rows=_rows(
                    bundle.manifest.dataset.classes[name],
                    vectors.gated(bundle.manifest.row(name), channels)[counted].sum(axis=0),
                    unpack(kept.tasks[name], (len(kept.ids), *bundle.manifest.row(name).judge(channels).shape)).sum(
                        axis=0
                    ),
                ),
            )
            for name, channels in names.items()
        )


def _rows(names: tuple[str, ...], reference: Floats, compiled: Floats) -> tuple[ClassRow, ...]:
    """Return a row for each class that occurs; both arrays are ``[2, classes]``: intersections and unions in pixels."""
    occurs = np.flatnonzero((reference[1] + compiled[1]) > 0)
    before, after = (sums[0] / np.maximum(sums[1], 1.0) for sums in (reference, compiled))
    return tuple(
        ClassRow(
            name=names[index],
            reference=f"{before[index]:.4f}",
            compiled=f"{after[index]:.4f}",
            change=wording.points(100 * float(after[index] - before[index])).removesuffix("%") + " points",
        )
        for index in occurs
    )
