"""Each variant once, from whatever files there are: its verdicts, its time, its size, its files."""

import json
from pathlib import Path
from typing import Any

import pytest

from bundle.formats.manifest import load_bundle
from bundle.judging.choice import Bench, Candidate, Choice
from bundle.judging.regression_report import RegressionReport
from bundle.judging.timing import Ratio
from report.bundle_page.page import render
from report.bundle_page.variants import NO_BENCH, NO_TIMING, Known, bench_view, numbers, variant_rows
from report.bundle_page.views import BenchView, VariantRow
from tests.bundle.made import write_result
from tests.report import made
from tests.report.bundle_page.test_page import Reader

BENCH = Bench.model_validate(made.BENCH)
GRAPH = made.manifest({}).variants[0]
TWO = made.manifest({}, variants=(GRAPH, GRAPH.model_copy(update={"name": "int8", "precision": "int8"})))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made.make(tmp_path / "b", None)


def rows(known: Known, folder: Path) -> dict[str, VariantRow]:
    return {row.name: row for row in variant_rows(known, folder)}


def test_a_variant_that_nothing_was_measured_of_has_its_files(folder: Path) -> None:
    known = Known(made.manifest({}), None, None, None)
    [row] = variant_rows(known, folder)
    assert (row.shipped, row.files, row.recipe) == (True, (("f32.onnx", "5.0 kB"),), (("reason", "the plain one"),))
    assert (row.latency, row.outcome, row.kind, row.svg, row.ratio) == ("not timed", "not judged", "none", "", "–")
    assert numbers(known, folder) == (
        ("not timed", "latency"),
        ("–", "over compiled float32"),
        ("5.0 kB", "graph and weights"),
    )


def test_every_variant_is_there_once_with_its_drops_in_the_tasks_order(folder: Path) -> None:
    report = RegressionReport.model_validate(made.rich())
    known = Known(TWO, report, BENCH, None)
    listed = rows(known, folder)
    assert list(listed) == ["f32", "int8", "f16"]
    plain, narrow, untried = listed.values()
    assert (plain.outcome, narrow.outcome, untried.outcome) == (
        "not within its budgets",  # whatever ``passed`` says: these verdicts are not
        "not within its budgets",
        "not judged",
    )
    assert [one.mark for one in plain.tasks][3:] == ["✗", "?", "✗"] and plain.tasks[3].text == "+9.89%"
    assert {one.text for one in untried.tasks} == {"–"} and (untried.svg, untried.latency) == ("", "not timed")
    assert 'width="80.0%"' in narrow.svg and 'width="100.0%"' in plain.svg
    assert (plain.ratio, narrow.ratio, plain.isa, untried.files) == ("1.00×", "1.25×", "avx2", ())


def test_what_a_device_chose_is_marked_and_the_others_say_why_not(folder: Path) -> None:
    over = Ratio(median=1.67, low=1.6, high=1.7)
    candidates = (
        Candidate(
            name="f32",
            latency_ms=100.0,
            verdicts={"depth": "pass"},
            accepted=True,
            standing="within",
            over_shipped=over,
        ),
        Candidate(name="int8", latency_ms=60.0, verdicts={"depth": "pass"}, accepted=True, standing="within"),
    )
    choice = Choice(shipped="int8", rule="fastest", fastest="int8", eager_ms=None, candidates=candidates)
    plain, narrow = variant_rows(Known(TWO, None, None, choice), folder)
    assert (plain.shipped, plain.reason) == (False, "1.67 times as slow as int8")
    assert (narrow.shipped, narrow.outcome, narrow.kind, narrow.reason) == (True, "within its budgets", "pass", "")
    failed = Candidate(name="int8", latency_ms=None, verdicts={}, skipped="not_opened", error="no driver")
    other = choice.model_copy(update={"shipped": "f32", "candidates": (candidates[0], failed)})
    unopened = rows(Known(TWO, None, None, other), folder)["int8"]
    assert (unopened.outcome, unopened.reason, unopened.kind) == ("not opened", "no driver", "none")


@pytest.mark.parametrize(("passed", "words"), [(True, "undecided, allowed"), (False, "undecided")])
def test_a_variant_with_an_undecided_task_is_not_within_its_budgets(folder: Path, passed: bool, words: str) -> None:
    values: Any = made.rich()
    row = values["variants"][0]
    row["tasks"] = {
        name: {**one, "verdict": "inconclusive" if name == "edge" else "pass"} for name, one in row["tasks"].items()
    }
    report = RegressionReport.model_validate({**values, "variants": [{**row, "passed": passed}]})
    tried = rows(Known(TWO, report, None, None), folder)["f32"]
    assert (tried.outcome, tried.kind) == (words, "inconclusive")


def test_how_it_was_timed_is_said_and_eager_is_no_baseline() -> None:
    note = bench_view(BENCH).note
    assert "15 runs after 3 to warm up" in note and note.endswith(
        "Eager PyTorch: 128 ms, for orientation: each speed-up is over compiled f32."
    )
    emulated = {**made.BENCH, "eager_ms": None, "f32_compiled_ms": None, "shipped_ms": None, "runs": 0, "warmup": 0}
    assert bench_view(Bench.model_validate(emulated)) == BenchView(note=NO_TIMING)
    assert bench_view(None) == BenchView(note=NO_BENCH)


def test_a_busy_machine_is_a_warning_on_the_page(tmp_path: Path) -> None:
    load = {"cpus": 2, "before": [4.1, 1, 1], "after": [5.2, 1, 1], "steal": 0.031}
    busy = {**made.BENCH, "load": load}
    view = bench_view(Bench.model_validate(busy))
    expected = "Load average over a minute 4.1 before, 5.2 after, on 2 CPUs; 3.1% of the CPU time went to other guests."
    assert view.load == expected
    folder = made.make(tmp_path / "b", made.regression(), bench=False)
    write_result(folder, "bench.json", json.dumps(busy))
    page = render(load_bundle(folder)).read_text(encoding="utf-8")
    assert "Warning: the machine was busy while it timed (load 5.2 on 2 CPUs)" in page and view.load in page
    quiet = render(load_bundle(made.make(tmp_path / "quiet", made.regression()))).read_text(encoding="utf-8")
    assert "Warning" not in quiet


def test_a_devices_percentiles_are_those_that_were_measured(folder: Path) -> None:
    three = {"p10_ms": 6.5, "p50_ms": 7.0, "p90_ms": 7.5, "p99_ms": 9.25, "runs": 200}
    tool = {"tool": "trtexec", "tool_median_ms": 7.2, "tool_compute_ms": 6.1}
    variants = {
        "int8": {"with_copies": three, "compute": {**three, "p10_ms": None, "p50_ms": 6.0}, **tool},
        "f32": {"with_copies": three},
    }
    bench = Bench.model_validate({**made.BENCH, "variants": variants})
    listed = rows(Known(TWO, None, bench, None), folder)
    assert listed["int8"].timings == (
        ("p10 / p50 / p90 / p99", "6.50 / 7.00 / 7.50 / 9.25 ms"),
        ("compute alone", "– / 6.00 / 7.50 / 9.25 ms"),
        ("runtime's own tool", "7.20 / 6.10 ms (trtexec)"),
        ("rounds", "200"),
    )
    assert [name for name, _ in listed["f32"].timings] == ["p10 / p50 / p90 / p99", "rounds"]


def test_the_verdict_card_has_the_three_numbers_of_the_shipped_variant(tmp_path: Path) -> None:
    folder = made.make(tmp_path / "b", made.rich())
    page = Reader(render(load_bundle(folder)).read_text(encoding="utf-8"))
    assert "latency 100.0 ms over compiled float32 1.00× graph and weights 37.0 MB" in page.text
