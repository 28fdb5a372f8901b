"""Which of the benchmark's numbers are met, and what it says where one is not."""

import pytest

from bundle.errors import RegressionFailed
from compile.bench_fold import Figures, Row, fold_rows, growth_rows, numbers_table, overhead_rows, require_numbers
from compile.bench_graphs import FoldCost

SPENT = {
    "baseline": [100.0, 200.0, 100.0],
    "folded_static": [107.0, 214.0, 107.0],
    "folded_dynamic": [111.0, 222.0, 111.0],
    "unfolded_static": [150.0, 300.0, 150.0],
    "unfolded_dynamic": [160.0, 320.0, 160.0],
    "unfolded_static_skills": [135.0, 270.0, 135.0],
}
COST = FoldCost(seconds=30, cpu_seconds=12, peak_mib=1500, float64=3e-15, float32=2e-6)


def figures(*rows: Row) -> Figures:
    """Figures with these rows."""
    return Figures(
        preset="tiny", machine="m", runtimes={"r": "1"}, rewrites={"r": ()}, threads=1, clock="cpu", rounds=3,
        load=(0.0, 0.0), rows=rows, latencies=(), kernels=(),
    )  # fmt: skip


def by_name(rows: list[Row]) -> dict[str, Row]:
    """Rows by name."""
    return {row.name: row for row in rows}


def test_overheads_are_ratios_of_medians_and_of_minima() -> None:
    rows = by_name(overhead_rows("r", SPENT))
    static, dynamic = (rows[f"adapter overhead, folded, {gate} gates"] for gate in ("static", "dynamic"))
    assert static.value == pytest.approx(0.07) and static.met
    assert dynamic.value == pytest.approx(0.11) and not dynamic.met
    assert rows["unfolded over folded, whole model, static gates"].value == pytest.approx(150 / 107)
    assert rows["unfolded over folded, whole model, static gates"].met
    assert rows["adapter overhead, folded, dynamic gates, by minima"].value == pytest.approx(0.11)
    assert rows["adapter overhead, folded, dynamic gates, by minima"].limit is None
    assert rows["adapter overhead, unfolded, static gates"].limit is None


def test_a_slower_unfolded_model_is_what_is_wanted() -> None:
    rows = by_name(overhead_rows("r", SPENT | {"unfolded_static": [120.0, 240.0, 120.0]}))
    assert not rows["unfolded over folded, whole model, static gates"].met


def test_the_largest_step_decides_the_growth() -> None:
    milliseconds = [10.0, 10.5, 11.0, 12.5, 13.0, 13.5]
    spent = {f"adapter_{gate}_{n}": [ms] for gate in ("static", "dynamic") for n, ms in enumerate(milliseconds, 1)}
    rows = by_name(growth_rows("r", spent))
    largest = rows["largest growth of the adapter part per task, static gates"]
    assert largest.value == pytest.approx(12.5 / 11 - 1) and not largest.met
    assert rows["mean growth per task, static gates"].value == pytest.approx(1.35**0.2 - 1)


def test_a_step_over_two_tasks_counts_per_task() -> None:
    spent = {f"adapter_{gate}_{n}": [ms] for gate in ("static", "dynamic") for n, ms in ((1, 10.0), (3, 14.4))}
    row = by_name(growth_rows("r", spent))["largest growth of the adapter part per task, dynamic gates"]
    assert row.value == pytest.approx(0.2) and not row.met


def test_folding_is_judged_by_the_clock_that_was_asked_for() -> None:
    wall, cpu = (
        by_name(fold_rows("static", COST, clock))["seconds to fold, static gates"] for clock in ("wall", "cpu")
    )
    assert not wall.met and cpu.met
    assert all(row.met for row in fold_rows("static", COST, "cpu"))


def test_every_missed_number_is_named_and_drawn() -> None:
    good, bad = (Row(runtime="r", name=name, value=value, limit=1.0) for name, value in (("good", 0.5), ("bad", 2.0)))
    require_numbers(figures(good))
    with pytest.raises(RegressionFailed, match="1 of the numbers are missed") as caught:
        require_numbers(figures(good, bad))
    assert "r: bad 2, limit 1" in caught.value.got and caught.value.exit_code == 1
    assert numbers_table(figures(good, bad)).row_count == 2
