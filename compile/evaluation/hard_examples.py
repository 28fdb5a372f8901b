"""Hard images: the rarest classes, and those the reference does worst on. They never count for a metric.

An average over images drawn at random says little about what is rare in them. Images that were chosen for being
hard would bias the average. So these are kept apart: on them a bundle only compares the two models' answers.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.judging.ranking import ranks, scores
from bundle.tasks.spec import Array, DatasetSpec
from bundle.tasks.table import task

SEEN = 1e-3  # a class is in an image if it covers this share of it


class Case(NamedTuple):
    """What is known of a candidate: the pixel share of each class by task ``[classes]``, its per-image metric arrays."""

    id: str
    shares: Mapping[str, NDArray[np.float64]]
    arrays: Mapping[str, NDArray[np.float64]]


def class_shares(label: Array, channels: int) -> NDArray[np.float64]:
    """Return each class's share of a label map's pixels, float64 ``[classes]``; pixels without a class count for none."""
    return np.bincount(label.reshape(-1).astype(np.intp), minlength=channels)[:channels] / label.size


def choose_hard(cases: Sequence[Case], count: int, tasks: Mapping[str, int], spec: DatasetSpec) -> dict[str, str]:
    """Return up to ``count`` ids with the reason for each: half for rare classes, the rest for the worst images."""
    reasons: dict[str, str] = {}
    for identifier, reason in _rare(cases, spec):
        if len(reasons) < count // 2:
            reasons.setdefault(identifier, reason)
    for identifier, reason in _worst(cases, tasks):
        if len(reasons) < count:
            reasons.setdefault(identifier, reason)
    return reasons


def _rare(cases: Sequence[Case], spec: DatasetSpec) -> list[tuple[str, str]]:
    """Yield for each class, the rarest first, the image that shows most of it."""
    found: list[tuple[int, float, str, str]] = []
    for name in cases[0].shares if cases else ():
        table = np.stack([case.shares[name] for case in cases])
        for index, images in enumerate((table > SEEN).sum(axis=0)):
            best = int(table[:, index].argmax())
            if images:
                words = f"rare: {spec.classes[name][index]} of {name}, in {images} of {len(cases)} candidates"
                found.append((int(images), -float(table[best, index]), cases[best].id, words))
    return [(identifier, words) for _, _, identifier, words in sorted(found)]


def _worst(cases: Sequence[Case], tasks: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return all candidates by the mean rank of the reference's scores over the tasks, the worst first."""
    if len(cases) < 2:
        return [(case.id, "worst: the only candidate") for case in cases]
    table = np.stack(
        [
            ranks(scores(task(name), channels, np.stack([case.arrays[name] for case in cases])), task(name))
            for name, channels in tasks.items()
        ]
    )
    known = ~np.isnan(table)
    mean = np.where(known, table, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    order = [int(index) for index in np.argsort(mean, kind="stable") if known[:, index].any()]
    return [(cases[index].id, f"worst: mean rank {mean[index]:.2f} of the reference over the tasks") for index in order]
