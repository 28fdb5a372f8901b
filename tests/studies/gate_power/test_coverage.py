"""The coverage of intervals: the four of them on data whose truth is known, and what is counted."""

from pathlib import Path

import numpy as np
import pytest

from bundle.judging.verdict import tail
from bundle.tasks.metrics import Floats, MeanAngularErrorDeg
from studies.gate_power.coverage import VARIANTS, Subject, cover, together
from studies.gate_power.coverage_page import SECTION, Coverage, publish, table
from studies.gate_power.intervals import METHODS, Sample, all_intervals
from studies.gate_power.page import Power, read_power

FIGURE = MeanAngularErrorDeg()
DOCS = Path(__file__).resolve().parents[3] / "docs" / "studies"


def arrays(seed: int, images: int) -> tuple[Floats, Floats]:
    """Sums of angles and pixels: a reference around 20°, and a compiled model 1 % worse, give or take 3 %."""
    random = np.random.default_rng(seed)
    reference = np.stack([random.gamma(9, 2.2, images) * 100, np.full(images, 100.0)], axis=1)
    return reference, reference * np.stack([random.normal(1.01, 0.03, images), np.ones(images)], axis=1)


def subject(images: int = 60) -> Subject:
    """One task of four variants."""
    reference, _ = arrays(0, images)
    variants = np.stack(
        [reference * (arrays(seed + 1, images)[1] / arrays(seed + 1, images)[0]) for seed in range(VARIANTS)]
    )
    truth = variants[..., 0].sum(axis=1) / reference[:, 0].sum() - 1
    return Subject(FIGURE, reference, variants, truth)


def test_the_intervals_are_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy is on the host only")
    reference, compiled = arrays(1, 40)
    ours = all_intervals(Sample(FIGURE, reference, compiled), 8_000, np.random.default_rng(0))
    for method, name in (("percentile", "percentile"), ("BCa", "BCa")):
        theirs = stats.bootstrap(
            (reference[:, 0], compiled[:, 0]),
            lambda a, b, axis: b.sum(axis=axis) / a.sum(axis=axis) - 1,
            paired=True,
            method=name,
            n_resamples=8_000,
            rng=np.random.default_rng(1),
        ).confidence_interval
        width = theirs.high - theirs.low
        assert ours[method] == pytest.approx((theirs.low, theirs.high), abs=0.05 * width)


def test_a_draws_standard_error_is_the_jackknifes_over_the_images_it_holds() -> None:
    reference, compiled = arrays(2, 8)
    picks = np.array([0, 0, 1, 3, 3, 3, 6, 7])
    [found] = Sample(FIGURE, reference, compiled).errors(np.bincount(picks, minlength=8)[None].astype(np.float64))
    ours, theirs = compiled[picks, 0], reference[picks, 0]
    without = np.array([np.delete(ours, one).sum() / np.delete(theirs, one).sum() - 1 for one in range(8)])
    assert found == pytest.approx(np.sqrt(7 / 8 * ((without - without.mean()) ** 2).sum()))


def test_the_expanded_interval_holds_the_truth_oftener_on_few_images() -> None:
    found = cover("normals", subject(), 10, 200, 200)
    assert (found.images, found.trials, set(found.held)) == (10, 200, set(METHODS))
    assert found.held["percentile"] < found.held["expanded"] and found.held["expanded"] > 0.9
    assert found.below["expanded"] <= found.below["percentile"]


def test_a_build_of_several_tasks_errs_oftener_than_one_verdict_and_less_than_all_of_them_apart() -> None:
    tasks = {name: subject() for name in ("one", "two")}
    found = together(tasks, 60, 100, lambda rows: rows)
    assert found.builds == 60 * VARIANTS and found.images == 60
    assert found.regression == found.any_regression, "equal tasks err together"
    assert found.passed <= found.any_pass["one"] == found.any_pass["two"] <= VARIANTS * found.passed


def test_the_published_table_is_that_of_the_measurement(tmp_path: Path) -> None:
    found = Coverage.model_validate_json((DOCS / "interval-coverage.json").read_bytes())
    text = (DOCS / "regression-power.md").read_text(encoding="utf-8")
    assert table(found) in text
    copy = tmp_path / "doc.md"
    copy.write_text(text, encoding="utf-8")
    publish(found, copy)
    assert copy.read_text(encoding="utf-8") == text and text.count(SECTION) == 2


def test_the_interval_that_judges_was_measured_the_better_one_from_ten_images_on() -> None:
    found = Coverage.model_validate_json((DOCS / "interval-coverage.json").read_bytes())
    for images in (10, 15, 20, 30, 100):
        rows = [one.held for one in found.covers if one.images == images]
        means = {method: sum(row[method] for row in rows) / len(rows) for method in METHODS}
        assert max(means, key=means.__getitem__) == "expanded" and 0.935 < means["expanded"] < 0.96
    assert tail(10) < 0.01
    assert isinstance(read_power(DOCS / "regression-power.json"), Power)
