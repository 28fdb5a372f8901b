"""Four bootstrap intervals of a relative drop, for comparison: what bundle/judging/verdict.py uses, and three it does not.

``percentile``: the central 95 % of the drops over draws. ``expanded``: the same, widened by Student's t, which is what judges a
bundle. ``BCa``: percentiles corrected for bias and, by the jackknife, for skew (Efron 1987). ``bootstrap-t``: the quantiles of
(drop of a draw − drop) / (standard error of the draw). The standard errors are the jackknife's (Efron & Tibshirani 1993, ch. 12).
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from bundle.judging.verdict import CONFIDENCE, interval, relative_drop
from bundle.tasks.metrics import Floats, Metric

METHODS = ("percentile", "expanded", "BCa", "bootstrap-t")
MANY = 10**9  # so many images that the expanded interval is the plain one
Ends = tuple[float, float]


class Sample(NamedTuple):
    """The per-image arrays of one task on some images, float64 ``[N, …]`` each, and the figure they are of."""

    figure: Metric
    reference: Floats
    compiled: Floats

    def drops(self, counts: Floats) -> Floats:
        """Return the drop of each draw ``[R]`` from how often it holds each image, ``[R, N]``."""
        shape, images = self.reference.shape[1:], len(self.reference)
        ours, theirs = (
            self.figure.reduce_many((counts @ arrays.reshape(images, -1)).reshape(len(counts), *shape))
            for arrays in (self.reference, self.compiled)
        )
        return relative_drop(ours, theirs, self.figure.direction)

    def errors(self, counts: Floats) -> Floats:
        """Return the jackknife's standard error of each draw's drop ``[R]``; an image counts as often as it was drawn."""
        images = counts.shape[1]
        without = np.stack(
            [self.drops(np.clip(counts - np.eye(images)[one], 0, None)) for one in range(images)], axis=1
        )
        mean = (counts * without).sum(axis=1, keepdims=True) / images
        errors: Floats = np.sqrt((images - 1) / images * (counts * (without - mean) ** 2).sum(axis=1))
        return errors


def all_intervals(sample: Sample, resamples: int, random: np.random.Generator) -> dict[str, Ends]:
    """Return the interval of each of ``METHODS`` from the same draws."""
    images = len(sample.reference)
    counts = random.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)
    draws, drop = sample.drops(counts), float(sample.drops(np.ones((1, images)))[0])
    return {
        "percentile": interval(draws, MANY),
        "expanded": interval(draws, images),
        "BCa": _corrected(sample, draws, drop),
        "bootstrap-t": _studentized(sample, counts, draws, drop),
    }


def _corrected(sample: Sample, draws: Floats, drop: float) -> Ends:
    images, normal = len(sample.reference), NormalDist()
    without = sample.drops(1.0 - np.eye(images))
    away = without.mean() - without
    spread = float((away**2).sum() ** 1.5)
    skew = float((away**3).sum()) / (6 * spread) if spread else 0.0
    below = (np.count_nonzero(draws < drop) + np.count_nonzero(draws == drop) / 2) / len(draws)
    bias = normal.inv_cdf(min(max(below, 1 / (2 * len(draws))), 1 - 1 / (2 * len(draws))))
    ends = []
    for share in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2):
        shifted = bias + normal.inv_cdf(share)
        ends.append(float(np.quantile(draws, normal.cdf(bias + shifted / (1 - skew * shifted)))))
    return ends[0], ends[1]


def _studentized(sample: Sample, counts: Floats, draws: Floats, drop: float) -> Ends:
    [error] = sample.errors(np.ones((1, counts.shape[1])))
    errors = sample.errors(counts)
    known = errors > 0
    if not known.any():
        return drop, drop
    low, high = np.quantile((draws[known] - drop) / errors[known], ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(drop - high * error), float(drop - low * error)
