"""Latencies and their noise, on numbers that are given: no test reads a clock or the machine's load."""

from pathlib import Path

import numpy as np
import pytest

from bundle.judging import timing
from bundle.judging.timing import Glance, Load, busy, disturbances, load_between, measure, percentiles, ratio


def test_percentiles_are_numpys() -> None:
    values = np.random.default_rng(0).gamma(4, 3, 101)
    one = percentiles(list(values))
    assert [one.p10_ms, one.p50_ms, one.p90_ms, one.p99_ms] == pytest.approx(np.percentile(values, [10, 50, 90, 99]))
    assert one.runs == 101


def test_what_disturbs_both_in_the_same_rounds_does_not_blur_their_ratio() -> None:
    disturbed = np.random.default_rng(1).gamma(2, 10, 40) + 5
    other = np.random.default_rng(2).gamma(2, 10, 40) + 5
    paired, apart = ratio(list(0.9 * disturbed), list(disturbed)), ratio(list(0.9 * disturbed), list(other))
    assert (paired.low, paired.high) == pytest.approx((0.9, 0.9)) and not paired.equal
    assert apart.low < 1 < apart.high and apart.equal


def test_the_ratios_interval_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy is on the host only")
    random = np.random.default_rng(3)
    ours, theirs = random.normal(9.5, 0.6, 60), random.normal(10, 0.6, 60)
    found = ratio(list(ours), list(theirs))
    other = stats.bootstrap(
        (ours, theirs),
        lambda a, b, axis: np.median(a, axis=axis) / np.median(b, axis=axis),
        paired=True,
        method="percentile",
        n_resamples=4_000,
        rng=np.random.default_rng(4),
    ).confidence_interval
    width = found.high - found.low
    assert abs(found.low - other.low) < 0.15 * width and abs(found.high - other.high) < 0.15 * width
    assert found == ratio(list(ours), list(theirs))


@pytest.mark.parametrize(("settled_at", "rounds"), [(0, 5), (1, 10), (9, 20)])
def test_rounds_are_measured_again_while_nothing_is_told_apart_and_up_to_a_limit(settled_at: int, rounds: int) -> None:
    asked = []

    def take(warmup: int, runs: int) -> dict[str, list[int]]:
        asked.append((warmup, runs))
        return {name: [len(asked)] * runs for name in ("a", "b")}

    found = measure(take, lambda rows: len(rows["a"]) <= 5 * settled_at, warmup=2, runs=5, again=3)
    assert len(found["a"]) == len(found["b"]) == rounds
    assert asked == [(2, 5), *[(0, 5)] * (rounds // 5 - 1)], "the machine is warm after the first"


def loaded(before: float, after: float, steal: float | None = 0.0) -> Load:
    return Load(cpus=2, before=(before, 1.0, 1.0), after=(after, 1.0, 1.0), steal=steal)


def test_a_machine_that_only_times_is_not_busy() -> None:
    steady = percentiles([10.0, 10.5, 11.0])
    assert disturbances(loaded(2.1, 2.4), {"f32": steady}) == ()
    assert disturbances(Load(cpus=2, before=None, after=None, steal=None), {"f32": steady}) == ()
    assert disturbances(None, {}) == ()


def test_load_steal_and_spread_are_each_named() -> None:
    assert disturbances(loaded(1.0, 5.2), {}) == ("load 5.2 on 2 CPUs",)
    assert disturbances(loaded(1.0, 1.0, 0.12), {}) == ("12% of the CPU time went to other guests",)
    [spread] = disturbances(
        loaded(1.0, 1.0), {"f32": percentiles([10.0, 10.0, 10.0]), "int8": percentiles([10.0, 15.0, 30.0])}
    )
    assert spread.startswith("int8: p90 is 2.45 times p10")
    assert "load 5.2 on 2 CPUs" in busy(("load 5.2 on 2 CPUs",)) and busy(("x",)).startswith("the machine was busy")


def test_stolen_time_is_that_between_two_glances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(timing, "PROC_STAT", stat)
    stat.write_text("cpu  100 0 50 800 10 0 0 40 0 0\ncpu0 1 2\n")
    before = timing.glance()
    stat.write_text("cpu  160 0 60 820 10 0 0 50 0 0\n")
    after = timing.glance()
    assert before.ticks == (40, 1000) and load_between(before, after).steal == pytest.approx(0.1)
    stat.write_text("no such line")
    assert timing.glance().ticks is None and load_between(before, timing.glance()).steal is None
    stat.unlink()
    assert timing.glance().ticks is None
    assert load_between(Glance(None, (1, 2)), Glance(None, (1, 2))).steal == 0.0
