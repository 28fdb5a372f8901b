"""Which of the benchmark's numbers are met, and what it says where one is not."""

from pathlib import Path

import pytest

from bundle.base.errors import RegressionFailed
from bundle.formats.artifacts import Folded
from calibration.image_files import ImageFiles
from compile.stage.store import Kept, seal, writing
from studies.folding import graphs as bench_graphs
from studies.folding.figures import Figures, Number
from studies.folding.graphs import FoldCost, adapter_part
from studies.folding.run import fold_rows, growth_rows, numbers_table, overhead_rows, require_numbers

# No round is another's multiple, so the median of the rounds' ratios, the ratio of the medians and that of the minima differ.
SPENT = {
    "baseline": [100.0, 200.0, 400.0],
    "folded_static": [110.0, 204.0, 420.0],  # 1.10, 1.02 and 1.05 of the baseline
    "folded_dynamic": [115.0, 204.0, 448.0],  # 1.15, 1.02, 1.12
    "unfolded_static": [132.0, 306.0, 588.0],  # 1.32, 1.53, 1.47; 1.2, 1.5, 1.4 of folded_static
    "unfolded_dynamic": [161.0, 255.0, 672.0],  # 1.4, 1.25, 1.5 of folded_dynamic
    "unfolded_static_skills": [121.0, 255.0, 504.0],  # 1.1, 1.25, 1.2 of folded_static
}
COST = FoldCost(seconds=30, cpu_seconds=12, peak_mib=1500, float64=3e-15, float32=2e-6)


def figures(*rows: Number) -> Figures:
    """Figures with these rows."""
    return Figures(
        preset="tiny",
        machine="m",
        runtimes={"r": "1"},
        rewrites={"r": ()},
        threads=1,
        clock="cpu",
        rounds=3,
        load=(0.0, 0.0),
        rows=rows,
        latencies=(),
        kernels=(),
    )


def by_name(rows: list[Number]) -> dict[str, Number]:
    """Rows by name."""
    return {row.name: row for row in rows}


def test_overheads_are_medians_of_the_rounds_ratios_beside_ratios_of_minima() -> None:
    rows = by_name(overhead_rows("r", SPENT))
    static, dynamic = (rows[f"adapter overhead, folded, {gate} gates"] for gate in ("static", "dynamic"))
    assert static.value == pytest.approx(0.05) and static.met
    assert static.spread == pytest.approx((0.035, 0.075))
    assert dynamic.value == pytest.approx(0.12) and not dynamic.met
    assert rows["adapter overhead, folded, static gates, by minima"].value == pytest.approx(0.10)
    assert rows["adapter overhead, folded, dynamic gates, by minima"].value == pytest.approx(0.15)
    assert rows["adapter overhead, folded, dynamic gates, by minima"].limit is None


def test_what_folding_gains_is_a_median_of_the_rounds_ratios_too() -> None:
    rows = by_name(overhead_rows("r", SPENT))
    whole = rows["unfolded over folded, whole model, static gates"]
    assert whole.value == pytest.approx(1.4) and whole.met and whole.spread == pytest.approx((1.3, 1.45))
    assert rows["unfolded over folded, whole model, dynamic gates"].value == pytest.approx(1.4)
    assert rows["adapter overhead, unfolded, static gates"].value == pytest.approx(0.47)
    assert rows["adapter overhead, unfolded, static gates"].limit is None
    skills = rows["unfolded over folded, skills mixed after the up-projection"]
    assert skills.value == pytest.approx(1.2) and skills.limit is None


def test_a_slower_unfolded_model_is_what_is_wanted() -> None:
    """1.1, 1.5 and 1.25 of the folded one, of which at least 1.3 is asked."""
    rows = by_name(overhead_rows("r", SPENT | {"unfolded_static": [121.0, 306.0, 525.0]}))
    assert not rows["unfolded over folded, whole model, static gates"].met


def test_the_largest_step_decides_the_growth() -> None:
    """The first step is 1.15, 1.05 and 1.10, the second 1.20, 1.02 and 1.12; both are 1.38, 1.071 and 1.232."""
    parts = {1: [10.0, 20.0, 40.0], 2: [11.5, 21.0, 44.0], 3: [13.8, 21.42, 49.28]}
    spent = {f"adapter_{gate}_{n}": milliseconds for gate in ("static", "dynamic") for n, milliseconds in parts.items()}
    rows = by_name(growth_rows("r", spent))
    largest = rows["largest growth of the adapter part per task, static gates"]
    assert largest.value == pytest.approx(0.12) and not largest.met
    assert largest.spread == pytest.approx((0.10, 0.12))
    assert rows["mean growth per task, static gates"].value == pytest.approx(1.232**0.5 - 1)


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
    good, bad = (
        Number(runtime="r", name=name, value=value, limit=1.0) for name, value in (("good", 0.5), ("bad", 2.0))
    )
    require_numbers(figures(good))
    with pytest.raises(RegressionFailed, match="1 of the numbers are missed") as caught:
        require_numbers(figures(good, bad))
    assert "r: bad 2, limit 1" in caught.value.got and caught.value.exit_code == 1
    assert numbers_table(figures(good, bad)).row_count == 2


@pytest.mark.slow
def test_a_damaged_graph_that_an_earlier_run_kept_is_made_again(tmp_path: Path) -> None:
    kept = adapter_part("tiny", "static", 1, tmp_path).path
    good, made = kept.read_bytes(), kept.stat().st_mtime_ns
    assert adapter_part("tiny", "static", 1, tmp_path).path.stat().st_mtime_ns == made
    kept.write_bytes(good[:-9])
    assert adapter_part("tiny", "static", 1, tmp_path).path.read_bytes() == good


def test_what_folding_cost_is_measured_again_where_it_was_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = FoldCost(seconds=1.0, cpu_seconds=1.0, peak_mib=1.0, float64=0.0, float32=0.0)
    measured: list[Path] = []

    def fold_in_subprocess(plain: Path, images: ImageFiles, out: Path) -> FoldCost:
        measured.append(out)
        with writing(out, Folded) as folder:
            (folder / "model.onnx").write_text("")
            seal(Folded, folder, tools={})
        return cost

    monkeypatch.setattr(bench_graphs, "fold_in_subprocess", fold_in_subprocess)
    monkeypatch.setattr(bench_graphs, "plain_graph", lambda *_: tmp_path)
    kept: Kept | None = None
    for number, damage in enumerate((None, "cost.json", "folded/model.onnx", "artifact.json")):
        if kept is not None and damage is not None:
            (kept.folder / damage).write_text("{")
        for _ in range(2):
            kept = bench_graphs._fold_once("tiny", "static", ImageFiles(paths=()), tmp_path)
            assert FoldCost.model_validate_json(kept.file("cost.json").read_bytes()) == cost
        assert len(measured) == number + 1
