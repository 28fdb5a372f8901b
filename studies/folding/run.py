"""What folding is worth and what a folded TDSS costs: one interleaved run of OpenVINO and ONNX Runtime in float32.

The models are Swin-T-sized TDSS at 448 with E = 8, r = 16, six tasks and heads of the field's size. Their weights are
random and seeded; one has static gates and one dynamic ones. Each is compared with the same model unfolded (the eager
arithmetic with experts and tasks as axes of tensors). Both are also compared with the same backbone and heads without
adapters, which get the same folds and rewrites. Exit code 1 where a number is missed.
"""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal, NamedTuple

import numpy as np
import typer
from rich.table import Table

from bundle.base.errors import RegressionFailed
from bundle.base.limits import LIMITS
from bundle.base.terminal import say
from bundle.formats.outputs import json_object, overwrite, require_file
from compile.evaluation.timing import Clock, ratio, sample
from compile.folding.proof import worst
from compile.stage.code_hash import ROOT
from compile.stage.command import run_script
from compile.stage.config import TimingConfig
from compile.stage.console import EscapingConsole
from studies.folding.figures import BURST, ROUNDS, Figures, Latency, Number
from studies.folding.graphs import FoldCost, Made, Preset, make_graphs, rewritten
from studies.folding.kernels import PART, ProfiledGraph, profile, totals
from studies.folding.tables import write_page
from studies.runs import TimingSetup, open_graph
from targets.base import Array, RunConfig, Session
from targets.rewrites import read_rewrites
from targets.table import target as find_target

RUNTIMES = {"openvino": "intel", "onnxruntime": "reference"}
FIGURES = json_object("preset", "machine", "kernels")  # what the figures may be written over
MINIMA = ", by minima"


class Timed(NamedTuple):
    """The samples of one run: milliseconds by (runtime, graph), and the folded graphs' error by (runtime, gate)."""

    spent: dict[tuple[str, str], list[float]]
    errors: dict[tuple[str, str], float]


def overhead_rows(runtime: str, spent: Mapping[str, list[float]]) -> list[Number]:
    """Judge the adapters' overhead over the baseline, and what folding gains: the median of the rounds' ratios.

    Where the ratio of the minima beside it disagrees, the machine was not quiet.
    """
    rows = []
    for gate, limit in (("static", 0.08), ("dynamic", 0.10)):
        for kind, bound in (("folded", limit), ("unfolded", None)):
            name = f"adapter overhead, {kind}, {gate} gates"
            rows += _compare(runtime, name, spent[f"{kind}_{gate}"], spent["baseline"], bound, less=1.0)
        name = f"unfolded over folded, whole model, {gate} gates"
        rows += _compare(runtime, name, spent[f"unfolded_{gate}"], spent[f"folded_{gate}"], 1.3, at_least=True)
    name = "unfolded over folded, skills mixed after the up-projection"
    return rows + _compare(runtime, name, spent["unfolded_static_skills"], spent["folded_static"], None)


def _compare(
    runtime: str,
    name: str,
    values: list[float],
    base: list[float],
    limit: float | None,
    *,
    less: float = 0.0,
    at_least: bool = False,
) -> list[Number]:
    """Return the median ratio with its limit and, as information, that of the minima; ``less`` is taken off."""
    found = ratio(values, base)
    middle = Number(
        runtime=runtime,
        name=name,
        value=found.median - less,
        limit=limit,
        at_least=at_least,
        spread=(found.low - less, found.high - less),
    )
    least = min(values) / min(base) - less
    return [middle, Number(runtime=runtime, name=f"{name}{MINIMA}", value=least, limit=None)]


def growth_rows(runtime: str, spent: Mapping[str, list[float]]) -> list[Number]:
    """Judge how much each added task grows the adapter part: the largest step between two numbers of tasks.

    A step is the median of the rounds' ratios; one over several tasks counts with its geometric mean per task.
    """
    rows = []
    for gate in ("static", "dynamic"):
        counts = sorted(int(name.rpartition("_")[2]) for name in spent if name.startswith(f"{PART}{gate}_"))
        parts = {count: spent[f"{PART}{gate}_{count}"] for count in counts}
        steps = [_per_task(parts, before, after) for before, after in pairwise(counts)]
        rows.append(
            Number(
                runtime=runtime,
                name=f"largest growth of the adapter part per task, {gate} gates",
                value=max(steps),
                limit=0.10,
                spread=(min(steps), max(steps)),
            )
        )
        mean = _per_task(parts, counts[0], counts[-1])
        rows.append(Number(runtime=runtime, name=f"mean growth per task, {gate} gates", value=mean, limit=None))
    return rows


def kernel_rows(runtime: str, ms: Mapping[str, float]) -> list[Number]:
    """Put the same numbers beside the judged ones, from the sums of each graph's kernels: information, for they scatter less."""
    spent = {graph: [total] for graph, total in ms.items()}
    rows = [*overhead_rows(runtime, spent), *growth_rows(runtime, spent)]
    return [
        row.model_copy(update={"name": f"{row.name}, by kernels", "limit": None, "spread": None})
        for row in rows
        if not row.name.endswith(MINIMA)
    ]


def _per_task(parts: Mapping[int, list[float]], before: int, after: int) -> float:
    """Return the growth per added task between two numbers of tasks, from the latencies by number."""
    growth: float = ratio(parts[after], parts[before]).median ** (1 / (after - before)) - 1
    return growth


def fold_rows(gate: str, cost: "FoldCost", clock: Clock) -> list[Number]:
    """Judge what folding took and whether it is exact."""
    seconds = cost.seconds if clock == "wall" else cost.cpu_seconds
    numbers = (
        ("seconds to fold", seconds, 20.0),
        ("MiB at the peak of folding", cost.peak_mib, 2048.0),
        ("relative error in float64", cost.float64, 1e-11),
        ("relative error in float32", cost.float32, 1e-5),
    )
    return [
        Number(runtime="torch", name=f"{name}, {gate} gates", value=value, limit=limit)
        for name, value, limit in numbers
    ]


def error_rows(errors: Mapping[tuple[str, str], float]) -> list[Number]:
    """Judge the folded and rewritten graphs against the unfolded eager model, in float32."""
    return [
        Number(runtime=runtime, name=f"relative error in float32, {gate} gates", value=value, limit=1e-5)
        for (runtime, gate), value in errors.items()
    ]


def rewrite_all(made: "Made", folder: Path) -> dict[tuple[str, str], ProfiledGraph]:
    """Run each runtime's rewrites on the graphs that get them; by (runtime, graph)."""
    jobs = {}
    for runtime, name in RUNTIMES.items():
        for graph in made.graphs:
            own = folder / runtime / graph.name
            own.mkdir(parents=True)
            jobs[runtime, graph.name] = ProfiledGraph(rewritten(graph, rewrites_of(name), own), graph.feed)
    return jobs


def measure_all(
    jobs: Mapping[tuple[str, str], ProfiledGraph], made: "Made", timing: TimingConfig, run: RunConfig, clock: Clock
) -> Timed:
    """Time every graph on both runtimes in one interleaved run: whole models first, then the adapter parts."""
    spent: dict[tuple[str, str], list[float]] = {}
    errors: dict[tuple[str, str], float] = {}
    benches = {runtime: TimingSetup(find_target(name), run, timing, clock) for runtime, name in RUNTIMES.items()}
    for whole in (True, False):
        chosen = {key: job for key, job in jobs.items() if key[1].startswith(PART) is not whole}
        with ExitStack() as sessions:
            opened = {
                key: (sessions.enter_context(open_graph(job.path, benches[key[0]])), job.feed)
                for key, job in chosen.items()
            }
            if whole:
                errors = _errors(opened, made)
            subjects = {f"{key[0]} {key[1]}": _call(session, feed) for key, (session, feed) in opened.items()}
            found = sample(subjects, timing, clock)
            spent |= {key: found[f"{key[0]} {key[1]}"] for key in opened}
    return Timed(spent, errors)


_Opened = Mapping[tuple[str, str], tuple[Session, Mapping[str, Array]]]


def _call(session: Session, feed: Mapping[str, Array]) -> Callable[[], object]:
    return lambda: session.infer(feed)


def _errors(opened: _Opened, made: "Made") -> dict[tuple[str, str], float]:
    """Return max |a − b| / max |b| over the outputs, folded and rewritten against eager and unfolded."""
    errors: dict[tuple[str, str], float] = {}
    for runtime in RUNTIMES:
        for gate, want in made.eager.items():
            session, feed = opened[runtime, f"folded_{gate}"]
            got = session.infer(feed)
            errors[runtime, gate] = max(worst([(want, got)])[0].values())
    return errors


def rewrites_of(name: str) -> tuple[str, ...]:
    """Name the rewrites that were measured to pay on a target's runtime; an oracle has them for this benchmark only."""
    return tuple(row.name for row in read_rewrites(ROOT / "targets" / name).rows if row.on)


def bench_fold(preset: "Preset", graphs: Path, timing: TimingConfig, run: RunConfig, clock: Clock) -> Figures:
    """Make the graphs in a folder below ``graphs``, time them and judge the numbers."""
    before = os.getloadavg()[0]
    say("making the graphs: some minutes")
    made = make_graphs(preset, graphs, threads=run.threads)
    say(f"timing {len(made.graphs)} graphs on {len(RUNTIMES)} runtimes")
    with TemporaryDirectory() as scratch:
        jobs = rewrite_all(made, Path(scratch))
        timed = measure_all(jobs, made, timing, run, clock)
        say("profiling them by op")
        kernels = profile(jobs, RUNTIMES)
    rows = [row for gate, cost in made.folds.items() for row in fold_rows(gate, cost, clock)] + error_rows(timed.errors)
    for runtime in RUNTIMES:
        own = {graph: values for (name, graph), values in timed.spent.items() if name == runtime}
        rows += overhead_rows(runtime, own) + growth_rows(runtime, own) + kernel_rows(runtime, totals(kernels, runtime))
    able = {runtime: find_target(name).capabilities(run) for runtime, name in RUNTIMES.items()}
    return Figures(
        preset=preset,
        machine=able["openvino"].device_name,
        runtimes={name: one.runtime for name, one in able.items()},
        rewrites={runtime: rewrites_of(name) for runtime, name in RUNTIMES.items()},
        threads=run.threads,
        clock=clock,
        rounds=timing.runs,
        load=(before, os.getloadavg()[0]),
        rows=tuple(rows),
        latencies=_latencies(timed),
        kernels=kernels,
    )


def _latencies(timed: Timed) -> tuple[Latency, ...]:
    found = []
    for (runtime, graph), values in timed.spent.items():
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        found.append(
            Latency(runtime=runtime, graph=graph, median_ms=float(middle), low_ms=float(low), high_ms=float(high))
        )
    return tuple(found)


def numbers_table(figures: Figures) -> Table:
    """Draw every number with its limit."""
    table = Table(title=f"{figures.preset} on {figures.machine}, {figures.threads} threads, {figures.clock} time")
    for heading in ("runtime", "number", "value", "quartiles", "limit", ""):
        table.add_column(heading)
    for row in figures.rows:
        spread = "" if row.spread is None else f"{row.spread[0]:.3g} … {row.spread[1]:.3g}"
        limit = "" if row.limit is None else f"{'≥' if row.at_least else '≤'} {row.limit:g}"
        table.add_row(
            row.runtime,
            row.name,
            f"{row.value:.4g}",
            spread,
            limit,
            "" if row.limit is None else ("✓" if row.met else "✗"),
        )
    return table


def require_numbers(figures: Figures) -> None:
    """Check that every number is reached.

    Raises:
        RegressionFailed: one is missed; all that are, are named.
    """
    missed = [
        f"{row.runtime}: {row.name} {row.value:.4g}, limit {row.limit:g}"
        for row in figures.rows
        if not row.met and row.limit is not None
    ]
    if missed:
        raise RegressionFailed(
            f"{len(missed)} of the numbers are missed",
            expected="every number within its limit",
            got="; ".join(missed),
            where="make bench-fold",
            fix="docs/studies/folding-numbers.md explains the known shortfalls; profile the others",
        )


def main(
    out: Annotated[Path, typer.Option(help="The JSON to write.")] = Path("build/folding-numbers.json"),
    graphs: Annotated[
        Path, typer.Option(help="Where the graphs are made; those of a killed run are taken as they are.")
    ] = Path("build/bench-fold"),
    page: Annotated[Path | None, typer.Option(help="A Markdown page whose tables are to be replaced.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A tiny model: proves only that the benchmark runs.")] = False,
    rounds: Annotated[int, typer.Option(min=1, max=LIMITS["count"].most, help="Timed rounds.")] = ROUNDS,
    threads: Annotated[int, typer.Option(min=1, max=LIMITS["threads"].most, help="Threads of both runtimes.")] = 2,
    clock: Annotated[Literal["wall", "cpu"], typer.Option(help="cpu where other work disturbs wall time.")] = "wall",
) -> None:
    """Measure what folding gains and what a folded TDSS costs over its backbone and heads.

    Example: python -m studies.folding.run --rounds 15
    """
    require_file(out, FIGURES)
    preset: Preset = "tiny" if quick else "swin-t"
    timing = TimingConfig(runs=rounds, warmup=1, burst=BURST)
    figures = bench_fold(preset, graphs, timing, RunConfig(threads=threads), clock)
    overwrite(out, figures.model_dump_json(indent=1) + "\n", FIGURES)
    if page is not None:
        write_page(figures, page)
    EscapingConsole(file=sys.stdout, width=150).print(numbers_table(figures))
    if not quick:
        require_numbers(figures)


if __name__ == "__main__":
    run_script(main)
