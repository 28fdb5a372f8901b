"""Is a compiled model worse than its reference? Relative drops, a paired bootstrap over images, and a verdict.

Both models are measured on the same images, so images are resampled in pairs (Efron & Tibshirani 1993, ch. 13). One
draw of N images with replacement gives both sums, both metrics and one drop. The interval is the expanded percentile
interval (Hesterberg 2015, section 4.3): the central 95 % of the drops over all draws, widened. Plain percentiles are
too narrow by about √((n−1)/n)·z/t, with Student's t for the number n of images that count for the metric. The widening vanishes
as n grows. ``pass``: its upper end is within the budget; ``regression``: its lower end is beyond it; ``inconclusive``: the
images cannot tell. The two-sided gate holds a gain to the budget too: a compiled model that is better than its
reference is as unexplained as one that is worse. ``improvement`` is an interval below −budget.

No interval keeps its 95 % on a few images (docs/decisions/0121): with fewer than ``MINIMUM_IMAGES`` that count there is none,
and the verdict is ``inconclusive``. A result that is not finite is a ``regression`` on any number of images.

Every task draws the same images (one seed, one number of images), so the draws of several tasks are paired as well.
Their mean is Δm's draw, and its interval is Δm's.

What is undefined is defined here. A drop relative to a reference of 0 is 0 where both are equal, else infinite with
its sign. A draw whose reference is NaN (no image of it has a label) is left out. A draw where only the compiled
metric is NaN counts as an infinite drop. If the reference is NaN over all images nothing can be judged: ``inconclusive``.
If the compiled metric is NaN or its arrays are not finite, the verdict is ``regression``.
"""

from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bundle.base.errors import InputError
from bundle.base.frozen import Frozen
from bundle.base.nullable_float import NullableFloat
from bundle.tasks.metrics import Direction

Verdict: TypeAlias = Literal["pass", "regression", "inconclusive", "improvement"]
Cause: TypeAlias = Literal[
    "not_finite",
    "hard_not_finite",
    "no_label",
    "no_reference",
    "compiled_undefined",
    "reference_zero",
    "too_few_images",
    "more_images",
    "improvement",
]
"""What explains a verdict that is not an ordinary one; bundle/judging/sentences.py has the words."""
Gate: TypeAlias = Literal["one-sided", "two-sided"]
Floats: TypeAlias = NDArray[np.float64]
Reduce: TypeAlias = Callable[[Floats], Floats]
Values: TypeAlias = tuple[float, float, float]  # the reference's metric, the compiled model's, the drop

NAN = float("nan")
UNKNOWN = (NAN, NAN)


def accepted(*, allow_inconclusive: bool) -> tuple[Verdict, ...]:
    """Return the verdicts a report may hold and still pass."""
    return ("pass", "inconclusive") if allow_inconclusive else ("pass",)


RESAMPLES = 10_000
CONFIDENCE = 0.95
MINIMUM_IMAGES = 10  # that count for a task's metric; fewer give no interval and no verdict: docs/decisions/0121
CHUNK = 1_000  # draws held in memory at a time: 1000 × 511 float64 is 4 MB


class Judgement(Frozen):
    """One task judged. ``drop`` and ``interval`` are relative to the reference, positive is worse, NaN is undefined.

    ``labelled_images`` is the number of images that count for the metric (see ``labelled``). ``images_needed`` is
    about how many images of this kind would settle an inconclusive verdict (see ``images_needed``).
    """

    reference: NullableFloat
    compiled: NullableFloat
    labelled_images: int
    drop: NullableFloat
    interval: tuple[NullableFloat, NullableFloat]
    verdict: Verdict
    cause: Cause | None = None  # None for an ordinary verdict
    images_needed: int | None = None


def relative_drop(reference: Floats, compiled: Floats, direction: Direction) -> Floats:
    """Return how much worse ``compiled`` is, relative to ``|reference|``, elementwise; see the module for 0 and NaN."""
    worse = reference - compiled if direction == "higher" else compiled - reference
    zero = reference == 0
    ratio = worse / np.where(zero, 1.0, np.abs(reference))
    ratio = np.where(zero & (worse != 0), np.copysign(np.inf, worse), ratio)
    ratio = np.where(np.isnan(compiled), np.inf, ratio)
    drops: Floats = np.where(np.isnan(reference), np.nan, ratio)
    return drops


def _draws(images: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield float64 count matrices ``[≤CHUNK, images]``: how often each draw holds each image."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, CHUNK):
        rows = min(CHUNK, resamples - start)
        picks = generator.integers(0, images, size=(rows, images)) + np.arange(rows)[:, None] * images
        yield np.bincount(picks.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)


def bootstrap(
    reference: Floats, compiled: Floats, reduce: Reduce, direction: Direction, *, resamples: int, seed: int
) -> Floats:
    """Return the drop of each draw, float64 ``[resamples]``; NaN where the draw's reference is undefined.

    ``reference`` and ``compiled`` are float64 ``[N, …]``, one metric array per image in the same order; ``reduce``
    maps sums ``[R, …]`` to metrics ``[R]``.
    """
    flat = np.stack([reference, compiled]).reshape(2, len(reference), -1)
    shape = reference.shape[1:]
    drops = []
    for counts in _draws(len(reference), resamples, seed):
        ours, theirs = (
            np.asarray(reduce((counts @ sums).reshape(len(counts), *shape)), dtype=np.float64) for sums in flat
        )
        drops.append(relative_drop(ours, theirs, direction))
    return np.concatenate(drops)


def labelled(reference: Floats, compiled: Floats) -> int:
    """Return how many images count for a metric: those whose array ``[N, …]``, of either model, is not all zeros."""
    both = np.nan_to_num(np.stack([reference, compiled])).reshape(2, len(reference), -1)
    return int((both != 0).any(axis=(0, 2)).sum())


def student_t(degrees: int) -> float:
    """Return Student's t with ``CONFIDENCE`` between −t and t: the normal quantile's expansion in 1/degrees.

    Abramowitz & Stegun 26.7.5; the error is below 1e-4 from 9 degrees of freedom on, and about a tenth of t at 1.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / degrees**power for power, term in enumerate(terms, 1)))


def tail(images: int) -> float:
    """Return the share of draws on either side of the interval: Φ(−√(n/(n−1))·t) for n images; 0 for one image."""
    if images < 2:
        return 0.0
    return NormalDist().cdf(-np.sqrt(images / (images - 1)) * student_t(images - 1))


def interval(drops: Floats, images: int) -> tuple[float, float]:
    """Return the expanded percentile interval of the defined drops, for draws of ``images`` images that count.

    Its ends are order statistics that widen it, so infinities stay infinite.
    """
    defined = np.sort(drops[~np.isnan(drops)])
    if defined.size == 0:
        return float("nan"), float("nan")
    outside = tail(images) * (defined.size - 1)
    return float(defined[int(np.floor(outside))]), float(defined[int(np.ceil(defined.size - 1 - outside))])


def decide(low: float, high: float, budget: float, gate: Gate = "one-sided") -> Verdict:
    """Return the verdict of an interval of drops under a gate; see the module."""
    if low > budget:
        return "regression"
    if gate == "two-sided" and high < -budget:
        return "improvement"
    settled = high <= budget and (gate == "one-sided" or low >= -budget)
    return "pass" if settled else "inconclusive"


def images_needed(
    drop: float, ends: tuple[float, float], budget: float, images: int, gate: Gate = "one-sided"
) -> int | None:
    """Return about how many images would move the interval off the budget if the drop stayed as it is.

    An interval shrinks as 1/√N about the drop. A half width w that must shrink to the distance d from the budget so
    needs N·(w/d)² images. None: the interval holds no end of the gate, or the drop is on one, or an end is infinite.
    """
    low, high = ends
    gates = (budget,) if gate == "one-sided" else (-budget, budget)
    held = [limit for limit in gates if low <= limit < high or (limit < 0 and low < limit <= high)]
    if not held or not np.isfinite([drop, low, high]).all() or any(drop == limit for limit in held):
        return None
    widths = [(high - drop if drop < limit else drop - low) / abs(drop - limit) for limit in held]
    return max(images + 1, int(np.ceil(images * max(widths) ** 2)))


class Rule(NamedTuple):
    """How per-image arrays become a verdict: ``reduce`` maps sums ``[R, …]`` to metrics ``[R]``.

    ``budget`` is the largest tolerated relative drop; ``seed`` and ``resamples`` are the bootstrap's. With fewer than
    ``minimum`` images that count nothing is decided.
    """

    reduce: Reduce
    direction: Direction
    budget: float
    seed: int
    resamples: int = RESAMPLES
    gate: Gate = "one-sided"
    minimum: int = MINIMUM_IMAGES


class Weighed(NamedTuple):
    """A judgement and the drop of every draw behind it, float64 ``[resamples]``; no draws where nothing was drawn."""

    judgement: Judgement
    draws: Floats


def judge(reference: Floats, compiled: Floats, rule: Rule) -> Judgement:
    """Judge one task from per-image metric arrays, float64 ``[N, …]`` each, in the same order of images.

    Raises:
        InputError: there is no image, the arrays differ in shape, or the reference's are not finite.
    """
    return weigh(reference, compiled, rule).judgement


def weigh(reference: Floats, compiled: Floats, rule: Rule) -> Weighed:
    """Judge one task as ``judge`` does, and return the draws too: ``delta_m_interval`` takes those of all tasks."""
    _check(reference, compiled)
    ours, counted = _metric(reference, rule.reduce), labelled(reference, compiled)
    if not np.isfinite(compiled).all():
        return _failed(ours, counted, "not_finite")
    theirs = _metric(compiled, rule.reduce)
    if np.isnan(ours):
        return _undrawn(_judgement((ours, theirs, NAN), counted, UNKNOWN, "inconclusive", "no_label"))
    if np.isnan(theirs):
        return _failed(ours, counted, "compiled_undefined")
    drop = float(relative_drop(np.asarray(ours), np.asarray(theirs), rule.direction))
    if counted < rule.minimum:
        return _undrawn(_too_few((ours, theirs, drop), counted, len(reference), rule.minimum))
    draws = bootstrap(reference, compiled, rule.reduce, rule.direction, resamples=rule.resamples, seed=rule.seed)
    return Weighed(_settled((ours, theirs, drop), counted, interval(draws, counted), len(reference), rule), draws)


def _settled(values: Values, counted: int, ends: tuple[float, float], images: int, rule: Rule) -> Judgement:
    drop, verdict = values[2], decide(*ends, rule.budget, rule.gate)
    needed = images_needed(drop, ends, rule.budget, images, rule.gate) if verdict == "inconclusive" else None
    cause: Cause | None = None
    if not np.isfinite(drop):
        cause = "reference_zero"
    elif needed is not None:
        cause = "more_images"
    elif ends[1] < -rule.budget:
        cause = "improvement"
    return _judgement(values, counted, ends, verdict, cause, needed)


def _too_few(values: Values, counted: int, images: int, minimum: int) -> Judgement:
    """Return the verdict on fewer images than any interval can be trusted on; as many as it takes at this share of labels."""
    needed = int(np.ceil(minimum * images / max(counted, 1)))
    return _judgement(values, counted, UNKNOWN, "inconclusive", "too_few_images", needed)


def _judgement(
    values: Values,
    counted: int,
    ends: tuple[float, float],
    verdict: Verdict,
    cause: Cause | None,
    needed: int | None = None,
) -> Judgement:
    reference, compiled, drop = values
    return Judgement(
        reference=reference,
        compiled=compiled,
        labelled_images=counted,
        drop=drop,
        interval=ends,
        verdict=verdict,
        cause=cause,
        images_needed=needed,
    )


def _check(reference: Floats, compiled: Floats) -> None:
    if len(reference) == 0 or reference.shape != compiled.shape:
        raise InputError(
            "the metric arrays cannot be compared",
            expected=f"arrays [N ≥ 1, …] of one shape, like {reference.shape}",
            got=str(compiled.shape),
            where="the bootstrap",
            fix="measure both models on the same images",
        )
    if not np.isfinite(reference).all():
        raise InputError(
            "the reference's metric arrays are not finite",
            expected="finite float64",
            got="NaN or infinity",
            where="the bootstrap",
            fix="the checkpoint itself gives NaN: fix it, then build again",
        )


def _metric(arrays: Floats, reduce: Reduce) -> float:
    return float(np.asarray(reduce(arrays.sum(axis=0)[None]))[0])


def _failed(reference: float, counted: int, cause: Cause) -> Weighed:
    return _undrawn(_judgement((reference, NAN, NAN), counted, UNKNOWN, "regression", cause))


def _undrawn(judgement: Judgement) -> Weighed:
    return Weighed(judgement, np.zeros(0))


def delta_m(drops: Sequence[float]) -> float:
    """Return Δm in percent over tasks: the mean signed relative change, positive is better; NaN if one is undefined.

    The field's formula, (100/T) Σ_t (−1)^{l_t} (M_t − S_t)/S_t with l = 1 where lower is better, is minus the mean drop.
    """
    if not drops or not np.isfinite(np.asarray(drops, dtype=np.float64)).all():
        return float("nan")
    return -100.0 * float(np.mean(np.asarray(drops, dtype=np.float64))) + 0.0


def delta_m_interval(tasks: Sequence[Weighed]) -> tuple[float, float]:
    """Return the 95 % interval of Δm in percent over the paired draws of all tasks, as wide as the task of fewest images needs.

    NaN where a task has no draws; a draw in which one task's reference is undefined is left out.
    """
    if not tasks or any(len(task.draws) == 0 for task in tasks):
        return UNKNOWN
    images = min(task.judgement.labelled_images for task in tasks)
    with np.errstate(invalid="ignore"):  # +∞ and −∞ in one draw have no mean: it is left out
        low, high = interval(np.mean(np.stack([task.draws for task in tasks]), axis=0), images)
    return -100.0 * high + 0.0, -100.0 * low + 0.0
