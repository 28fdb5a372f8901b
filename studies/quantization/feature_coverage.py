"""Which images to calibrate on if there are many: those that cover the features, one for each cluster.

The images' features are clustered by Lloyd's k-means, started by k-means++ (Arthur & Vassilvitskii 2007); of each cluster
the image nearest its centre is taken. So no two picks show the same thing while something else is not shown at all.
"""

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import DatasetError

Floats = NDArray[np.float64]
ITERATIONS = 50


def choose_covering(features: Floats, count: int, *, seed: int) -> tuple[int, ...]:
    """Return ``count`` different rows of ``features``, float64 ``[images, features]``, in ascending order; all if no more.

    Each feature counts alike: they are centred and scaled to unit deviation first.

    Raises:
        DatasetError: ``count`` is not positive, or a feature is not finite.
    """
    if count < 1 or not np.isfinite(features).all():
        raise DatasetError(
            "images cannot be chosen",
            expected="a count of at least 1 and finite features",
            got=f"count {count}, {int((~np.isfinite(features)).sum())} features not finite",
            where="choose_covering",
            fix="ask for one image or more; leave out images on which the model is not finite",
        )
    if count >= len(features):
        return tuple(range(len(features)))
    scale = features.std(axis=0)
    points = (features - features.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    centres = _start(points, count, np.random.default_rng(seed))
    for _ in range(ITERATIONS):
        owner = _distances(points, centres).argmin(axis=1)
        moved = np.stack(
            [points[owner == one].mean(axis=0) if (owner == one).any() else centres[one] for one in range(count)]
        )
        if np.allclose(moved, centres):
            break
        centres = moved
    return _nearest(points, centres)


def _distances(points: Floats, centres: Floats) -> Floats:
    """Return squared distances, ``[points, centres]``."""
    return np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=1)


def _start(points: Floats, count: int, generator: np.random.Generator) -> Floats:
    """Draw starting centres, each with a probability that grows as its squared distance to those drawn before."""
    picks = [int(generator.integers(len(points)))]
    while len(picks) < count:
        distance = _distances(points, points[picks]).min(axis=1)
        total = distance.sum()
        chance = distance / total if total > 0 else np.full(len(points), 1 / len(points))
        picks.append(int(generator.choice(len(points), p=chance)))
    return points[picks]


def _nearest(points: Floats, centres: Floats) -> tuple[int, ...]:
    """Take for each centre the nearest point that is not taken yet."""
    distances = _distances(points, centres)
    taken: list[int] = []
    for centre in range(len(centres)):
        order = distances[:, centre].argsort(kind="stable")
        taken.append(next(int(point) for point in order if point not in taken))
    return tuple(sorted(taken))
