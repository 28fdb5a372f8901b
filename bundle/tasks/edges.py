"""Edge maps against edge labels: thin the prediction, match its pixels one to one, count at 33 thresholds.

The protocol is that of the BSDS boundary benchmark (Martin, Fowlkes & Malik 2004; Arbeláez et al. 2011). It is
written in NumPy, so that it runs on a device. It is **not** the BSDS program, and differs from it in the points of this list:

1. Non-maximum suppression of the probability map across the ridge, in the direction of the largest curvature of the
   smoothed map. Smoothing and slack are as in Dollár & Zitnick 2015.
2. At each of the thresholds k/34, k = 1…33, the suppressed map is thinned to one-pixel lines (Guo & Hall 1989).
   The *label* is thinned as well (BSDS leaves it), so a perfect prediction scores exactly 1.
3. Prediction and label pixels no farther apart than 0.0075 of the image's diagonal are matched one to one: nearest
   first, then by short alternating paths, instead of BSDS's min-cost assignment. The count is at most a maximum
   matching's and at least 0.96 of it (docs/decisions/0110 has the measurements; tests/bundle/tasks/test_edges.py asserts it).
4. F is taken at the thresholds, without interpolation between them.

All thresholds are handled at once: bit k−1 of a pixel's 64-bit word is whether the pixel is on at threshold k.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Words: TypeAlias = NDArray[np.uint64]
Indices: TypeAlias = NDArray[np.int64]

THRESHOLDS = 33
TOLERANCE = 0.0075  # of the image's diagonal
SMOOTHING = 4  # radius of the triangle filter, pixels
SLACK = 1.01  # a pixel goes only if a neighbour across the ridge is over 1 % higher

CHAIN = 4  # matches that may move to let one pixel in
ROUNDS = 2
_ALL = np.uint64((1 << THRESHOLDS) - 1)


def edge_counts(probability: NDArray[np.generic], label: NDArray[np.generic]) -> NDArray[np.float64]:
    """Count one image: float64 ``[3, 33]`` of matched, predicted and labelled edge pixels per threshold.

    ``probability`` is float ``[H, W]`` in 0…1, ``label`` uint8 ``[H, W]``, 0 or 1.
    """
    height, width = label.shape
    steps = offsets(TOLERANCE * float(np.hypot(height, width)))
    margin = max(1, int(np.abs(steps).max()))
    stride = width + 2 * margin
    predicted = thin(_padded(_threshold(suppress(probability.astype(np.float32))), margin), stride)
    labelled = thin(_padded(np.where(label != 0, _ALL, np.uint64(0)), margin), stride)
    matched = match(predicted, labelled, steps[:, 0] * stride + steps[:, 1])
    return np.stack([_count(matched), _count(predicted), _count(labelled)]).astype(np.float64)


def offsets(radius: float) -> Indices:
    """Return the (row, column) steps no longer than ``radius`` pixels, int64 ``[n, 2]``, shortest first."""
    reach = int(radius)
    span = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(span, span, indexing="ij"), axis=-1).reshape(-1, 2)
    squared = (grid**2).sum(axis=1)
    inside = squared <= radius**2
    nearest_first = np.argsort(squared[inside], kind="stable")
    return np.asarray(grid[inside][nearest_first], dtype=np.int64)


def suppress(probability: Floats) -> Floats:
    """Return the map with every pixel set to 0 that a neighbour across its ridge exceeds; float32 ``[H, W]``."""
    rows, columns = np.nonzero(probability >= _level(1))
    down, right = _across(probability, rows, columns)
    value = probability[rows, columns]
    y, x = rows.astype(np.float32), columns.astype(np.float32)
    ahead, behind = _interpolate(probability, y + down, x + right), _interpolate(probability, y - down, x - right)
    highest = np.maximum(ahead, behind)
    kept = value * np.float32(SLACK) >= highest
    result = np.zeros_like(probability)
    result[rows[kept], columns[kept]] = value[kept]
    return result


def _across(probability: Floats, rows: Indices, columns: Indices) -> tuple[Floats, Floats]:
    """Unit steps (down, right) across the ridge: the direction in which the smoothed map curves most, either way.

    A crest curves down across, its flanks curve up; along the ridge both are straight. The angle below belongs to the
    larger eigenvalue of the Hessian; where the sum of both is negative, the other one is larger in magnitude.
    """
    down, right = np.gradient(_smooth(probability))
    (down_down, down_right), right_right = np.gradient(down), np.gradient(right, axis=1)
    xx, xy, yy = right_right[rows, columns], down_right[rows, columns], down_down[rows, columns]
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.where(xx + yy < 0, np.pi / 2, 0.0)
    return np.sin(angle).astype(np.float32), np.cos(angle).astype(np.float32)


def _smooth(image: Floats) -> Floats:
    kernel = np.minimum(np.arange(1, 2 * SMOOTHING + 2), np.arange(2 * SMOOTHING + 1, 0, -1)).astype(np.float32)
    kernel /= kernel.sum()
    padded = np.pad(image, SMOOTHING, mode="symmetric")
    height, width = image.shape
    vertical = sum(weight * padded[start : start + height] for start, weight in enumerate(kernel))
    smooth = sum(weight * np.asarray(vertical)[:, start : start + width] for start, weight in enumerate(kernel))
    return np.asarray(smooth, dtype=np.float32)


def _interpolate(image: Floats, rows: Floats, columns: Floats) -> Floats:
    """Sample bilinearly; outside the image its border is repeated."""
    height, width = image.shape
    flat = image.reshape(-1)
    y, x = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = np.minimum(y.astype(np.int64), height - 2), np.minimum(x.astype(np.int64), width - 2)
    v, u = y - top.astype(np.float32), x - left.astype(np.float32)
    corner = top * width + left
    upper = flat[corner] * (1 - u) + flat[corner + 1] * u
    lower = flat[corner + width] * (1 - u) + flat[corner + width + 1] * u
    return np.asarray(upper * (1 - v) + lower * v, dtype=np.float32)


def _level(k: int) -> np.float32:
    return np.float32(k / (THRESHOLDS + 1))


def _threshold(image: Floats) -> Words:
    """Set bit k−1 where the map reaches k/34."""
    levels = np.array([_level(k) for k in range(1, THRESHOLDS + 1)])
    reached = np.searchsorted(levels, image, side="right").astype(np.uint64)
    return np.asarray((np.uint64(1) << reached) - np.uint64(1), dtype=np.uint64)


def _padded(words: Words, margin: int) -> Words:
    return np.pad(words, margin).reshape(-1)


def _count(words: Words) -> Indices:
    """Count the pixels of each bit: int64 ``[33]``."""
    on = words[words != 0].astype("<u8")
    bits = np.unpackbits(on.view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    return np.asarray(bits[:, :THRESHOLDS].sum(axis=0, dtype=np.int64))


def thin(words: Words, stride: int) -> Words:
    """Thin every bit plane of a flat padded map to lines one pixel wide (Guo & Hall 1989), until nothing changes.

    A pixel is looked at again only after a pixel beside it went, so a wide area costs its outline per round.
    """
    result = words.copy()
    around = np.array([-stride, 1 - stride, 1, stride + 1, stride, stride - 1, -1, -stride - 1])  # clockwise from north
    fresh = np.ones((2, len(words)), dtype=bool)
    half, idle = 0, 0
    while idle < 2:
        pixels = np.flatnonzero(fresh[half] & (result != 0))
        fresh[half] = False
        gone = _removable(result, pixels, around, half)
        removed = pixels[gone != 0]
        result[pixels] &= ~gone
        fresh[:, (removed[:, None] + around).reshape(-1)] = True
        idle = 0 if removed.size else idle + 1
        half = 1 - half
    return result


def _removable(words: Words, pixels: Indices, around: Indices, half: int) -> Words:
    """Return the bits that this half of a round deletes at ``pixels``: line ends, junctions and bridges stay."""
    n, ne, e, se, s, sw, w, nw = (words[pixels + step] for step in around)
    one_crossing = _exactly_one(~n & (ne | e), ~e & (se | s), ~s & (sw | w), ~w & (nw | n))
    first = (nw | n, ne | e, se | s, sw | w)
    second = (n | ne, e | se, s | sw, w | nw)
    enough = _two_or_more(*first) & _two_or_more(*second)
    inner = first[0] & first[1] & first[2] & first[3] & second[0] & second[1] & second[2] & second[3]
    side = (s | sw | ~nw) & w if half == 0 else (n | ne | ~se) & e
    return np.asarray(words[pixels] & one_crossing & enough & ~inner & ~side, dtype=np.uint64)


def _exactly_one(a: Words, b: Words, c: Words, d: Words) -> Words:
    return np.asarray((a ^ b ^ c ^ d) & ~((a & b) | (c & d)), dtype=np.uint64)


def _two_or_more(a: Words, b: Words, c: Words, d: Words) -> Words:
    return np.asarray((a & b) | (c & d) | ((a | b) & (c | d)), dtype=np.uint64)


def match(predicted: Words, labelled: Words, steps: Indices) -> Words:
    """Match pixels of two flat padded maps one to one in every bit plane; return the predicted pixels matched.

    ``steps`` are flat offsets, nearest first. For one offset every pixel has one partner, so an offset is matched
    at once. A few rounds of alternating paths then raise the count. A match changes to an unclaimed label if that
    lets a free pixel in, directly or by a chain of up to ``CHAIN`` matches.
    """
    near = _reachable(predicted, labelled, steps)
    pixels = np.flatnonzero(near)
    targets = pixels + steps[:, None]
    free, unclaimed = near[pixels], labelled.copy()
    held = np.zeros((len(steps), len(pixels)), dtype=np.uint64)
    _claim(free, unclaimed, held, targets)
    for _ in range(ROUNDS):
        for movers, wanted in reversed(_chain(free, held, targets, len(labelled))):
            _give_way(movers, wanted, unclaimed, held, targets)
        _claim(free, unclaimed, held, targets)
    near[pixels] ^= free
    return near


def _reachable(predicted: Words, labelled: Words, steps: Indices) -> Words:
    """Return the predicted pixels with any label within reach."""
    pixels = np.flatnonzero(predicted)
    labels = np.zeros(len(pixels), dtype=np.uint64)
    for step in steps:
        labels |= labelled[pixels + step]
    result = np.zeros_like(predicted)
    result[pixels] = labels & predicted[pixels]
    return result


def _claim(free: Words, unclaimed: Words, held: Words, targets: Indices) -> None:
    """Match free pixels to unclaimed labels, offset by offset; updates the first three arrays.

    ``free`` ``[n]`` holds the unmatched bits of each pixel, ``unclaimed`` those of each label (flat map). ``held``
    ``[steps, n]`` holds the bits a pixel has matched by each step, ``targets`` ``[steps, n]`` where each step leads.
    """
    who = np.flatnonzero(free)
    bits = free[who]
    for step, target in enumerate(targets[:, who]):
        pairs = bits & unclaimed[target]
        held[step, who] |= pairs
        unclaimed[target] ^= pairs
        bits ^= pairs
    free[who] = bits


def _chain(free: Words, held: Words, targets: Indices, size: int) -> list[tuple[Indices, Words]]:
    """Search outward from the free pixels: per layer, the matched pixels that hold a wanted label, and those labels."""
    layers: list[tuple[Indices, Words]] = []
    seen = np.zeros(size, dtype=np.uint64)
    who = np.flatnonzero(free)
    bits = free[who]
    while len(layers) < CHAIN and len(who):
        wanted = np.zeros(size, dtype=np.uint64)
        for target in targets[:, who]:
            wanted[target] |= bits
        wanted &= ~seen
        seen |= wanted
        holding = np.zeros(len(free), dtype=np.uint64)
        for mine, target in zip(held, targets, strict=True):
            holding |= mine & wanted[target]
        who = np.flatnonzero(holding)
        bits = holding[who]
        layers.append((who, wanted))
    return layers


def _give_way(movers: Indices, wanted: Words, unclaimed: Words, held: Words, targets: Indices) -> None:
    """Move matches of ``movers`` from wanted labels to unclaimed ones where they can; updates ``unclaimed``, ``held``."""
    reached = targets[:, movers]
    leaving = held[:, movers] & wanted[reached]
    staying = np.bitwise_or.reduce(leaving, axis=0)
    matched = np.zeros_like(leaving)
    for step, index in enumerate(reached):
        matched[step] = staying & unclaimed[index]
        unclaimed[index] ^= matched[step]
        staying ^= matched[step]
    left = leaving & np.bitwise_or.reduce(matched, axis=0)
    for step, index in enumerate(reached):
        unclaimed[index] |= left[step]
    held[:, movers] = (held[:, movers] ^ left) | matched
