"""Drops, intervals and verdicts, against a plain loop, SciPy's bootstrap and published Δm."""

import numpy as np
import pytest

from bundle.base.errors import InputError
from bundle.judging.verdict import (
    CHUNK,
    MINIMUM_IMAGES,
    Floats,
    Gate,
    Rule,
    Verdict,
    bootstrap,
    decide,
    delta_m,
    delta_m_interval,
    images_needed,
    interval,
    judge,
    labelled,
    relative_drop,
    student_t,
    tail,
    weigh,
)
from bundle.tasks.metrics import Direction
from bundle.tasks.table import TASKS, Task

NAN, INF = float("nan"), float("inf")
MANY = 10**9  # so many images that the interval is the plain percentiles


def mean(sums: Floats) -> Floats:
    """A metric of ``[2]`` arrays: a sum and a count."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[:, 0] / sums[:, 1])


def pairs(seed: int, count: int, shift: float, noise: float) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    reference = np.stack([random.uniform(0.4, 0.8, count), np.ones(count)], axis=1)
    compiled = reference.copy()
    compiled[:, 0] *= 1 - shift + random.normal(0, noise, count)
    return reference, compiled


@pytest.mark.parametrize(
    ("reference", "compiled", "direction", "drop"),
    [
        (0.5, 0.4, "higher", 0.2),
        (0.5, 0.6, "higher", -0.2),
        (20.0, 21.0, "lower", 0.05),
        (20.0, 19.0, "lower", -0.05),
        (0.0, 0.0, "higher", 0.0),
        (0.0, 0.1, "higher", -INF),
        (0.0, 0.1, "lower", INF),
        (0.0, 0.0, "lower", 0.0),
        (0.5, NAN, "higher", INF),
        (20.0, NAN, "lower", INF),
        (NAN, 0.5, "higher", NAN),
        (NAN, NAN, "lower", NAN),
        (0.0, NAN, "higher", INF),
    ],
)
def test_relative_drop(reference: float, compiled: float, direction: Direction, drop: float) -> None:
    got = relative_drop(np.array([reference]), np.array([compiled]), direction)
    np.testing.assert_allclose(got, [drop], rtol=1e-12)


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_the_bootstrap_is_the_plain_loop(direction: Direction) -> None:
    reference, compiled = pairs(1, 9, 0.02, 0.02)
    resamples = CHUNK + 7  # more than one chunk, the last one not full
    fast = bootstrap(reference, compiled, mean, direction, resamples=resamples, seed=5)
    generator = np.random.default_rng(5)
    sign = 1 if direction == "higher" else -1
    slow = []
    for size in (CHUNK, 7):
        for row in generator.integers(0, 9, size=(size, 9)):
            ours, theirs = reference[row, 0].mean(), compiled[row, 0].mean()
            slow.append(sign * (ours - theirs) / ours)
    np.testing.assert_allclose(fast, slow, rtol=1e-9, atol=1e-15)


def test_the_interval_is_scipys_paired_percentile_bootstrap() -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy is on the host only")
    reference, compiled = pairs(2, 100, 0.01, 0.03)
    ours = interval(bootstrap(reference, compiled, mean, "higher", resamples=10_000, seed=0), MANY)
    theirs = stats.bootstrap(
        (reference[:, 0], compiled[:, 0]),
        lambda a, b, axis: 1 - b.mean(axis=axis) / a.mean(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = ours[1] - ours[0]
    assert abs(ours[0] - theirs.low) < 0.05 * width and abs(ours[1] - theirs.high) < 0.05 * width


@pytest.mark.parametrize(("images", "least"), [(MINIMUM_IMAGES, 368), (60, 370)])
def test_about_95_percent_of_the_intervals_hold_the_truth(images: int, least: int) -> None:
    """Of 400; plain percentiles hold it in 358 of the draws of 10 images."""
    held = 0
    for seed in range(400):
        draws = bootstrap(*pairs(seed, images, 0.02, 0.03), mean, "higher", resamples=500, seed=seed)
        low, high = interval(draws, images)
        held += low <= 0.02 <= high
    assert least <= held <= 396


@pytest.mark.parametrize("images", [2, 3, 10, 30, 100, 5000])
def test_the_interval_is_widened_by_students_t(images: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy is on the host only")
    exact = float(stats.t.ppf(0.975, images - 1))
    assert student_t(images - 1) == pytest.approx(exact, rel=1e-4 if images >= MINIMUM_IMAGES else 0.12)
    expected = stats.norm.cdf(-np.sqrt(images / (images - 1)) * exact)
    assert tail(images) == pytest.approx(expected, rel=1e-3 if images >= MINIMUM_IMAGES else 1.0, abs=1e-5)
    draws = np.random.default_rng(0).normal(size=10_000)
    low, high = interval(draws, images)
    assert low <= np.quantile(draws, tail(images)) and high >= np.quantile(draws, 1 - tail(images))


def test_the_widening_vanishes_with_the_number_of_images() -> None:
    assert tail(1) == 0.0 and tail(10) < tail(30) < tail(100) < tail(MANY) == pytest.approx(0.025, rel=1e-6)


def test_an_image_counts_where_either_model_says_something_of_it() -> None:
    reference, compiled = np.zeros((5, 2, 3)), np.zeros((5, 2, 3))
    reference[0, 1, 2], compiled[1, 0, 0], reference[2], compiled[2] = 1.0, 1.0, 1.0, 1.0
    assert labelled(reference, compiled) == 3
    compiled[:] = NAN
    assert labelled(reference, compiled) == 2


@pytest.mark.parametrize("counted", [1, 3, MINIMUM_IMAGES - 1])
@pytest.mark.parametrize("factor", [1.0, 0.5, 1.5])
@pytest.mark.parametrize("gate", ["one-sided", "two-sided"])
def test_fewer_than_ten_labelled_images_decide_nothing(counted: int, factor: float, gate: Gate) -> None:
    """The compiled model is the same, half as good, or half as good again: the interval would have no width, and says nothing."""
    reference = np.zeros((40, 2))
    reference[:counted] = (0.5, 1.0)
    judged = judge(reference, reference * (factor, 1), Rule(mean, "higher", budget=0.01, seed=0, gate=gate))
    assert judged.verdict == "inconclusive" and judged.labelled_images == counted and np.isnan(judged.interval).all()
    assert judged.drop == pytest.approx(1 - factor)
    assert (judged.cause, judged.labelled_images) == ("too_few_images", counted)
    assert judged.images_needed == -(-400 // counted)


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_ten_labelled_images_decide(factor: float) -> None:
    reference = np.zeros((40, 2))
    reference[:MINIMUM_IMAGES] = (0.5, 1.0)
    judged = judge(reference, reference * (factor, 1), Rule(mean, "higher", budget=0.01, seed=0))
    assert (judged.verdict, judged.labelled_images) == ("pass" if factor == 1 else "regression", MINIMUM_IMAGES)


def test_an_output_that_is_not_finite_is_a_regression_on_one_image_too() -> None:
    one = np.array([[0.5, 1.0]])
    for compiled in (one * NAN, one * 0):
        judged = judge(one, compiled, Rule(mean, "higher", budget=0.01, seed=0))
        assert (judged.verdict, judged.labelled_images) == ("regression", 1)


@pytest.mark.parametrize(
    ("shift", "noise", "verdict"),
    [(0.0, 0.001, "pass"), (0.05, 0.01, "regression"), (0.01, 0.05, "inconclusive"), (-0.1, 0, "pass")],
)
@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_verdicts(shift: float, noise: float, verdict: str, direction: Direction) -> None:
    reference, compiled = pairs(3, 100, shift if direction == "higher" else -shift, noise)
    judged = judge(reference, compiled, Rule(mean, direction, budget=0.01, seed=0))
    assert judged.verdict == verdict
    assert judged.interval[0] - 1e-12 <= judged.drop <= judged.interval[1] + 1e-12


def test_the_budget_itself_still_passes() -> None:
    reference = np.ones((MINIMUM_IMAGES, 2))
    compiled = reference * [0.75, 1]  # a drop of exactly 0.25 in every draw
    assert judge(reference, compiled, Rule(mean, "higher", budget=0.25, seed=0)).verdict == "pass"
    assert judge(reference, compiled, Rule(mean, "higher", budget=0.2499, seed=0)).verdict == "regression"


@pytest.mark.parametrize("row", TASKS, ids=lambda row: row.name)
def test_no_change_is_a_drop_of_zero_for_every_metric(row: Task) -> None:
    chosen = row.judge(5)
    arrays = np.abs(np.random.default_rng(0).normal(size=(20, *chosen.shape)))
    judged = judge(arrays, arrays.copy(), Rule(chosen.reduce_many, "higher", budget=0.0, seed=0, resamples=300))
    assert (judged.drop, judged.interval, judged.verdict, judged.cause) == (0.0, (0.0, 0.0), "pass", None)


def test_the_seed_decides_the_interval() -> None:
    one, same, other = (
        judge(*pairs(4, 30, 0.01, 0.05), Rule(mean, "higher", budget=0.01, seed=seed)) for seed in (1, 1, 2)
    )
    assert one == same
    assert one.interval != other.interval and one.drop == other.drop


def test_a_rule_without_a_minimum_takes_one_image_at_its_word() -> None:
    """What only ranks graphs may ask so (compile/quantization/accuracy.py); no bundle is judged by it."""
    rule = Rule(mean, "higher", budget=0.01, seed=0, minimum=1)
    judged = judge(np.array([[0.5, 1.0]]), np.array([[0.4, 1.0]]), rule)
    assert judged.interval == (judged.drop, judged.drop) and judged.verdict == "regression"


def test_a_reference_of_zero_that_stays_zero_passes() -> None:
    zero = np.array([[0.0, 1.0]] * MINIMUM_IMAGES)
    assert judge(zero, zero, Rule(mean, "higher", budget=0.01, seed=0)).verdict == "pass"


def test_a_perfect_reference_error_that_is_lost_is_a_regression() -> None:
    zero = np.array([[0.0, 1.0]] * MINIMUM_IMAGES)
    judged = judge(zero, zero + np.array([0.1, 0]), Rule(mean, "lower", budget=0.01, seed=0))
    assert judged.verdict == "regression" and judged.drop == INF and judged.interval == (INF, INF)
    assert judged.cause == "reference_zero"


def test_draws_without_a_label_are_left_out() -> None:
    reference = np.array(
        [[0.5, 1.0]] + [[0.0, 0.0]] * 9
    )  # one image of ten has labels: about a third of the draws none
    drops = bootstrap(reference, reference * [0.9, 1], mean, "higher", resamples=2000, seed=0)
    assert 0.25 < np.isnan(drops).mean() < 0.45
    np.testing.assert_allclose(interval(drops, 10), (0.1, 0.1))


def test_no_label_at_all_is_inconclusive() -> None:
    nothing = np.zeros((5, 2))
    judged = judge(nothing, nothing, Rule(mean, "higher", budget=0.01, seed=0))
    assert judged.verdict == "inconclusive" and judged.cause == "no_label"
    assert np.isnan(judged.drop)


@pytest.mark.parametrize("value", [NAN, INF])
def test_an_output_that_is_not_finite_is_a_regression(value: float) -> None:
    reference, compiled = pairs(5, 8, 0, 0)
    compiled[3] = value
    judged = judge(reference, compiled, Rule(mean, "higher", budget=0.01, seed=0))
    assert judged.verdict == "regression" and judged.cause == "not_finite"
    assert judged.reference == pytest.approx(reference[:, 0].mean())


def test_a_compiled_metric_that_vanishes_is_a_regression() -> None:
    reference = np.ones((4, 2))
    assert judge(reference, reference * [1, 0] * 0, Rule(mean, "higher", budget=0.01, seed=0)).verdict == "regression"


@pytest.mark.parametrize(
    ("reference", "compiled", "message"),
    [
        (np.ones((3, 2)), np.ones((4, 2)), "cannot be compared"),
        (np.ones((0, 2)), np.ones((0, 2)), "cannot be compared"),
        (np.full((3, 2), NAN), np.ones((3, 2)), "reference's metric arrays are not finite"),
    ],
)
def test_arrays_that_cannot_be_judged_are_refused(reference: Floats, compiled: Floats, message: str) -> None:
    with pytest.raises(InputError, match=message):
        judge(reference, compiled, Rule(mean, "higher", budget=0.01, seed=0))


SINGLE_TASK = (67.21, 61.93, 62.35, 17.97)  # PASCAL-Context, Swin-T: semseg, parts, saliency, normals (lower is better)


@pytest.mark.parametrize(
    ("row", "published"),
    [
        ((67.90, 59.84, 65.40, 16.60), 2.55),  # MTLoRA, rank 64
        ((70.82, 60.45, 65.88, 16.48), 4.24),  # TADFormer, rank 64
        ((72.02, 61.25, 66.11, 16.35), 5.28),  # FAAR
    ],
)
def test_delta_m_reproduces_published_rows(row: tuple[float, ...], published: float) -> None:
    directions: tuple[Direction, ...] = ("higher", "higher", "higher", "lower")
    drops = [
        float(relative_drop(np.array(single), np.array(multi), direction))
        for single, multi, direction in zip(SINGLE_TASK, row, directions, strict=True)
    ]
    assert delta_m(drops) == pytest.approx(published, abs=0.01)  # of two-digit inputs


@pytest.mark.parametrize("drops", [[], [0.1, NAN], [INF]])
def test_delta_m_of_something_undefined_is_undefined(drops: list[float]) -> None:
    assert np.isnan(delta_m(drops))


def test_delta_m_of_no_change_is_plus_zero() -> None:
    assert str(delta_m([0.0, 0.0])) == "0.0"


# The two-sided gate, the images that would decide, Δm's interval


@pytest.mark.parametrize(
    ("low", "high", "one_sided", "two_sided"),
    [
        (-0.002, 0.004, "pass", "pass"),
        (0.011, 0.02, "regression", "regression"),
        (0.005, 0.02, "inconclusive", "inconclusive"),
        (-0.05, -0.011, "pass", "improvement"),
        (-0.02, -0.005, "pass", "inconclusive"),
        (-0.01, 0.01, "pass", "pass"),
        (-0.02, 0.02, "inconclusive", "inconclusive"),
    ],
)
def test_gates(low: float, high: float, one_sided: Verdict, two_sided: Verdict) -> None:
    assert (decide(low, high, 0.01), decide(low, high, 0.01, "two-sided")) == (one_sided, two_sided)


@pytest.mark.parametrize("gate", ["one-sided", "two-sided"])
def test_an_improvement_nobody_can_explain_is_reported_and_fails_where_asked(gate: Gate) -> None:
    judged = judge(*pairs(3, 60, -0.1, 0.01), Rule(mean, "higher", budget=0.01, seed=0, resamples=500, gate=gate))
    assert judged.verdict == ("pass" if gate == "one-sided" else "improvement")
    assert judged.cause == "improvement"


@pytest.mark.parametrize(("shift", "gate"), [(0.012, "one-sided"), (0.007, "one-sided"), (0.004, "two-sided")])
def test_as_many_images_as_were_asked_for_do_decide(shift: float, gate: Gate) -> None:
    """Drawn from the same population, that many images mostly settle the verdict; a third as many mostly do not."""
    few = judge(*pairs(11, 30, shift, 0.03), Rule(mean, "higher", budget=0.01, seed=0, resamples=800, gate=gate))
    assert few.verdict == "inconclusive" and few.images_needed is not None and few.images_needed > 30
    assert few.cause == "more_images"
    wide = [
        judge(
            *pairs(seed, 4 * _true_need(shift, gate), shift, 0.03),
            Rule(mean, "higher", budget=0.01, seed=0, resamples=400, gate=gate),
        ).verdict
        for seed in range(12)
    ]
    thin = [
        judge(
            *pairs(seed, _true_need(shift, gate) // 3, shift, 0.03),
            Rule(mean, "higher", budget=0.01, seed=0, resamples=400, gate=gate),
        ).verdict
        for seed in range(12)
    ]
    assert wide.count("inconclusive") <= 2 and thin.count("inconclusive") >= 6


def _true_need(shift: float, gate: Gate) -> int:
    """The textbook number for the true drop: N with 1.96·σ/√N equal to the distance from the budget."""
    distance = min(abs(shift - limit) for limit in ((0.01,) if gate == "one-sided" else (-0.01, 0.01)))
    return int((1.96 * 0.03 * 1.05 / distance) ** 2)


def test_images_needed_is_the_square_of_width_over_distance() -> None:
    assert images_needed(0.005, (-0.005, 0.015), 0.01, 50) == 200  # half width 0.01 must become 0.005
    assert images_needed(0.02, (0.0, 0.04), 0.01, 10) == 40
    assert images_needed(0.004, (-0.016, 0.02), 0.01, 10, "two-sided") == 72  # the farther end of the two
    assert images_needed(0.01, (0.0, 0.02), 0.01, 50) is None  # on the budget: no number would do
    assert images_needed(0.0, (0.0, INF), 0.01, 50) is None
    assert images_needed(0.0, (-0.001, 0.001), 0.01, 50) is None  # decided already


def test_the_interval_of_delta_m_is_that_of_the_mean_over_paired_draws() -> None:
    tasks = [
        weigh(*pairs(seed, 40, 0.01, 0.02), Rule(mean, "higher", budget=0.01, seed=9, resamples=2_000))
        for seed in (1, 2)
    ]
    low, high = delta_m_interval(tasks)
    middle = delta_m([one.judgement.drop for one in tasks])
    assert low < middle < high
    both = [pairs(seed, 40, 0.01, 0.02) for seed in (1, 2)]
    random = np.random.default_rng(4)
    loop = []
    for _ in range(2_000):
        row = random.integers(0, 40, 40)
        loop.append(-50 * sum(1 - compiled[row, 0].mean() / reference[row, 0].mean() for reference, compiled in both))
    np.testing.assert_allclose((low, high), np.quantile(loop, (tail(40), 1 - tail(40))), atol=0.1 * (high - low))


def test_delta_m_has_no_interval_where_a_task_was_not_drawn() -> None:
    drawn = weigh(*pairs(1, 12, 0.01, 0.02), Rule(mean, "higher", budget=0.01, seed=9, resamples=50))
    broken = weigh(np.ones((9, 2)), np.full((9, 2), NAN), Rule(mean, "higher", budget=0.01, seed=9, resamples=50))
    assert broken.draws.size == 0 and broken.judgement.verdict == "regression"
    assert np.isnan(delta_m_interval([drawn, broken])).all() and np.isnan(delta_m_interval([])).all()
