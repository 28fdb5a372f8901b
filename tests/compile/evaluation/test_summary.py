"""What a build says in the end: how each variant fared and, where nothing passes, commands that can be typed as they are."""

import shlex
from pathlib import Path

import pytest

from bundle.judging.choice import Bench, Candidate, Choice
from bundle.judging.regression_report import Device, RegressionReport, TaskResult, VariantRow, VariantTask
from bundle.judging.sensitivity import LayerSensitivity, SearchConfig, SearchReport
from bundle.judging.timing import Load
from bundle.judging.verdict import Verdict
from compile.evaluation.summary import describe, next_steps
from compile.stage.config import BuildConfig, asked_budgets, load_config

ASKED = BuildConfig(target="intel", checkpoint=Path("my models/one"), data=Path("data/scenes"))


def task_of(end: float | None, verdict: Verdict) -> VariantTask:
    """A task of a variant whose interval ends there."""
    return VariantTask(
        reference=0.5,
        compiled=0.5,
        drop_relative=0.0,
        interval=(-0.001, end),
        budget=0.01,
        verdict=verdict,
        labelled_images=20,
    )


def report_of(*rows: VariantRow) -> RegressionReport:
    """A report of which the first variant is the shipped one, and does not pass."""
    tasks = {
        name: TaskResult(metric="max_f", direction="higher", **one.model_dump()) for name, one in rows[0].tasks.items()
    }
    return RegressionReport(
        model="made",
        target="intel",
        device=Device(name="made", isa=("avx2",)),
        precision="f32",
        executed_on="device",
        images=20,
        tasks=tasks,
        delta_m=0.0,
        passed=False,
        variants=rows,
    )


def row(name: str, **tasks: VariantTask) -> VariantRow:
    return VariantRow(name=name, precision=name, tasks=tasks, passed=False, bytes=1)


FAR = row("f32", saliency=task_of(0.05, "inconclusive"), edge=task_of(0.002, "pass"))
CLOSE = row("int8", saliency=task_of(0.0123, "inconclusive"), edge=task_of(0.002, "pass"))
UNJUDGED = row("bf16")


def test_it_names_the_costliest_layers_the_nearest_variant_and_the_commands(tmp_path: Path) -> None:
    layers = tuple(
        LayerSensitivity(name=name, macs_share=0.1, sqnr_db={"saliency": db, "edge": 40.0}, drop={})
        for name, db in (("loud", 20.0), ("soft", 30.0))
    )
    search = SearchReport(result="undecidable", config=SearchConfig(), budgets={}, layers=layers, enough=0.23)
    path = tmp_path / "sensitivity.json"
    path.write_text(search.model_dump_json())
    lines = next_steps(ASKED, report_of(FAR, CLOSE, UNJUDGED), tmp_path)
    assert lines.pop(0) == f"  all results: {tmp_path / 'report.html'}"
    assert lines[0] == "  saliency: its noise comes from loud 91%, soft 9%"
    assert lines[1].startswith("  nearest to passing: int8, saliency inconclusive") and "edge" not in lines[1]
    more, wider = (shlex.split(line.partition(": tdss pipeline ")[2]) for line in lines[2:])
    place = ["--target", "intel", "--checkpoint", "my models/one", "--data", "data/scenes"]
    assert more == [*place, "--search-limit", "0.23"]
    assert wider[:-1] == [*place, "--budgets"] and load_config(
        None, {"target": "intel", "budgets": asked_budgets(wider[-1])}
    )
    assert asked_budgets(wider[-1]) == {"saliency": pytest.approx(0.0135, abs=1e-3)}


def test_without_a_search_there_are_no_layers_and_a_limit_that_is_wide_enough_is_not_widened(tmp_path: Path) -> None:
    _, *lines = next_steps(ASKED, report_of(FAR, CLOSE), tmp_path)
    assert [line.partition(":")[0] for line in lines] == ["  nearest to passing", "  to accept int8 as it is"]


def test_what_is_undefined_has_no_budget_that_would_do(tmp_path: Path) -> None:
    _, *lines = next_steps(ASKED, report_of(row("f32", saliency=task_of(None, "regression"))), tmp_path)
    assert len(lines) == 1 and lines[0].startswith("  nearest to passing: f32, saliency regression")


def test_a_bundle_within_its_budgets_is_looked_at_and_goes_to_its_device(tmp_path: Path) -> None:
    passed = report_of(FAR).model_copy(update={"passed": True})
    assert next_steps(ASKED, passed, tmp_path) == [f"  all results: {tmp_path / 'report.html'}"]
    emulated = passed.model_copy(update={"target": "jetson", "executed_on": "emulation"})
    folder = Path("my models/jetson")
    [_, line] = next_steps(ASKED, emulated, folder)
    assert "tdss bundle pack 'my models/jetson';" in line and line.endswith("make target=jetson bundle=jetson.zip")


def test_the_terminal_says_eager_is_no_baseline_and_warns_of_a_busy_machine() -> None:
    candidate = Candidate(name="f32", latency_ms=42.0, verdicts={"depth": "pass"}, accepted=True, standing="within")
    choice = Choice(shipped="f32", rule="fastest", fastest="f32", eager_ms=1335.2, candidates=(candidate,))
    bench = Bench(
        eager_ms=1335.2,
        f32_compiled_ms=42.0,
        shipped_ms=42.0,
        shipped_precision="f32",
        runs=5,
        warmup=1,
        load=Load(cpus=2, before=(9.1, 1.0, 1.0), after=None, steal=None),
    )
    assert describe(choice, bench) == [
        "  f32             42.00 ms  shipped; within its budgets",
        "  eager PyTorch: 1335 ms, for orientation: each speed-up is over compiled f32",
        "warning: the machine was busy while it timed (load 9.1 on 2 CPUs): the latencies may not be repeatable",
        "shipped: f32, the fastest variant within its budgets, measured here: 42.0 ms",
    ]
    quiet = describe(choice, bench.model_copy(update={"load": None, "eager_ms": None}))
    assert len(quiet) == 2 and not any("warning" in line or "eager" in line for line in quiet)


def test_too_few_labels_are_the_step_and_no_layer_is_blamed(tmp_path: Path) -> None:
    few = report_of(FAR)
    tasks = {name: one.model_copy(update={"labelled_images": 1}) for name, one in few.tasks.items()}
    _, *lines = next_steps(ASKED, few.model_copy(update={"tasks": tasks}), tmp_path)
    assert lines == ["  too few labels for a verdict: saliency, edge; give at least 10 images with each"]
