"""Measure what work costs a target when a graph is folded, and store what was found beside the target.

Each case of studies/folding/eliminations.py is folded by every candidate of a small grid of rates and rewritten as the target's
runtime likes it. Candidates that lead to the same file are one graph. On ``intel`` and ``reference`` the graphs are timed in one
interleaved run for each float variant; for ``jetson`` NVIDIA's builder on the CPU says how many bytes the plan of the FP16
graph moves per frame (extra ``proof``). A candidate counts by the geometric mean, over models and variants, of its ratio to the
first one. On is the first within ``CLOSE`` of the least: what is closer than that is noise, or a tie.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from statistics import geometric_mean
from tempfile import TemporaryDirectory
from typing import Annotated, Literal, NamedTuple

import numpy as np
import typer

from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer, say
from bundle.formats.artifacts import hash_file, write_text
from bundle.formats.tensorrt_checks import CAVEAT
from compile.evaluation.timing import Ratio
from compile.folding.engine import fold_graph
from compile.folding.graph_file import read_graph, write_graph
from compile.graphs.cost import read_cost
from compile.graphs.fp16 import write_ranges
from compile.graphs.passes.table import apply_passes
from compile.stage.code_hash import ROOT, code_hash
from compile.stage.command import run_script
from compile.stage.config import TimingConfig
from compile.stage.graph_info import GRAPH_FILE, INPUT
from compile.stage.store import Kept, StageKey, keep, tool_versions
from studies.folding.eliminations import PLAIN, case_named, write_plain
from studies.folding.run import rewrites_of
from studies.placement import plan_of
from studies.rewrites import BURST, Model, latency_ratios, recipes_of
from studies.runs import TimingSetup
from targets.base import RunConfig
from targets.folding import FILE, FoldingCost, Measure, Rates, RatesRow, Sample
from targets.jetson.rtx import DISTRIBUTION, require_builder
from targets.table import target as find_target

CASES = ("default", "linear", "vit")
GRID = (
    *(Rates(element=one, operator=other, thin=192) for one, other in product((10.0, 3.0, 30.0, 100.0), (3e5, 3e6))),
    *(Rates(element=one, operator=3e5, thin=96) for one in (10.0, 100.0)),
)
CLOSE: Mapping[Measure, float] = {"latency": 1.01, "bytes": 1.02}


class Folds(NamedTuple):
    """One model's folded graphs: for each candidate the graph's name, which is its content's, and for each name its file."""

    model: Model
    work: Path  # where plans are kept
    graphs: Mapping[Rates, str]
    files: Mapping[str, Path]

    @property
    def distinct(self) -> tuple[str, ...]:
        """The names, the first candidate's first."""
        return tuple(dict.fromkeys(self.graphs.values()))


def fold_all(case: str, grid: Sequence[Rates], work: Path, *, threads: int) -> Folds:
    """Fold a case by every candidate, unless ``work`` has it from this code.

    Raises:
        ConfigError: there is no such case.
    """
    code = code_hash("studies.rates")
    key = StageKey(stage="plain", inputs=(), settings={"case": case}, code=code, tools={})
    plain = keep(work, key, lambda folder: write_plain(case_named(case, folder), folder, threads=threads), say)
    graphs, files = dict[Rates, str](), dict[str, Path]()
    for rates in grid:
        path = _fold(plain, rates, work, code)
        graphs[rates] = hash_file(path)[:16]
        files[graphs[rates]] = path
    feed = {INPUT: np.load(plain.file(f"{INPUT}.npy"), allow_pickle=False)}
    folds = Folds(Model(case, plain.file(f"{PLAIN}.onnx"), feed), work / f"{case}-plans", graphs, files)
    say(f"{case}: {len(folds.distinct)} graphs of {len(grid)} candidates")
    return folds


def _fold(plain: Kept, rates: Rates, work: Path, code: str) -> Path:
    def write(folder: Path) -> None:
        write_graph(fold_graph(read_graph(plain.file(f"{PLAIN}.onnx")), rates), folder / GRAPH_FILE)

    key = StageKey(stage="folded", inputs=(plain.sha256,), settings=rates.model_dump(mode="json"), code=code, tools={})
    return keep(work, key, write, say).file(GRAPH_FILE)


def latencies(folds: Folds, bench: TimingSetup) -> list[Sample]:
    """Time the distinct graphs of a model, rewritten for the target, in one interleaved run for each float variant."""
    first, *others = folds.distinct
    samples = []
    with TemporaryDirectory() as scratch:
        for graph in folds.distinct:
            apply_passes(rewrites_of(bench.target.name), folds.files[graph], Path(scratch) / f"{graph}.onnx")
        for recipe in recipes_of(folds.model, bench):
            paths = [Path(scratch) / f"{graph}.onnx" for graph in (*others, first)]
            ratios = latency_ratios(folds.model, recipe, paths, bench) if others else []
            for graph, found in zip(folds.distinct, (Ratio(1.0, 1.0, 1.0), *ratios), strict=True):
                quartiles = (round(found.low, 4), round(found.high, 4))
                samples.append(
                    _sample(folds, recipe.name, graph, found.median).model_copy(update={"quartiles": quartiles})
                )
    return samples


def plans(folds: Folds) -> list[Sample]:
    """Have NVIDIA's builder plan the distinct graphs of a model in FP16.

    Raises:
        TargetUnavailable: TensorRT-RTX is not here, or died.
    """
    found, work = {}, folds.work
    work.mkdir(parents=True, exist_ok=True)
    for graph in folds.distinct:
        path = folds.files[graph]
        ranges = write_ranges(path, work, [folds.model.feed], threads=0)
        found[graph] = plan_of(folds.model.name, graph, path, work, ranges, None).plan
    base = found[folds.distinct[0]].moved_mb
    return [
        _sample(folds, "f16", graph, plan.moved_mb / base).model_copy(
            update={"kernels": plan.kernels, "moved_mb": plan.moved_mb}
        )
        for graph, plan in found.items()
    ]


def _sample(folds: Folds, variant: str, graph: str, found: float) -> Sample:
    macs = read_cost(folds.files[graph]).macs
    return Sample(model=folds.model.name, variant=variant, graph=graph, macs=macs, ratio=round(found, 4))


def decide(
    measure: Measure, graphs: Mapping[Rates, Mapping[str, str]], samples: Sequence[Sample]
) -> tuple[RatesRow, ...]:
    """Switch the first candidate on whose mean is within ``CLOSE`` of the least; ``graphs`` holds each one's, by model."""
    means = {
        rates: geometric_mean(sample.ratio for sample in samples if mine[sample.model] == sample.graph)
        for rates, mine in graphs.items()
    }
    on = next(rates for rates, mean in means.items() if mean <= min(means.values()) * CLOSE[measure])
    return tuple(
        RatesRow(rates=rates, on=rates == on, mean=round(mean, 4), graphs=dict(graphs[rates]))
        for rates, mean in means.items()
    )


def measure_rates(
    cases: Sequence[str], grid: Sequence[Rates], bench: TimingSetup, work: Path, command: str
) -> FoldingCost:
    """Fold, measure and decide.

    Raises:
        ConfigError: there is no such case.
        TargetUnavailable: what measures the target is not on this machine.
    """
    able = bench.target.capabilities(bench.run)
    builder = able.device == "emulation"  # it has no latency
    if builder:
        require_builder()
    folded = [fold_all(case, grid, work, threads=bench.run.threads) for case in cases]
    samples = tuple(one for folds in folded for one in (plans(folds) if builder else latencies(folds, bench)))
    measure: Measure = "bytes" if builder else "latency"
    graphs = {rates: {folds.model.name: folds.graphs[rates] for folds in folded} for rates in grid}
    return FoldingCost(
        measure=measure,
        measured_on=CAVEAT if builder else f"{able.device_name} ({', '.join(able.isa)})",
        runtime=f"TensorRT-RTX {tool_versions(DISTRIBUTION)[DISTRIBUTION]}" if builder else able.runtime,
        date=datetime.now(tz=timezone.utc).date().isoformat(),
        command=command,
        reason=f"the first within {(CLOSE[measure] - 1) * 100:g} % of the least {measure}, by the geometric mean of {len(samples)} measurements",
        rows=decide(measure, graphs, samples),
        samples=samples,
    )


def lines(found: FoldingCost) -> Iterator[str]:
    """Yield the answer as text: each candidate, and how many graphs it shares with the one that is on."""
    on = next(row for row in found.rows if row.on)
    for row in found.rows:
        rates, alike = row.rates, sum(row.graphs[model] == graph for model, graph in on.graphs.items())
        yield (
            f"{'on ' if row.on else '   '} element {rates.element:<4g} operator {rates.operator:<8g} thin {rates.thin}: "
            f"{row.mean:.4f} of the first one's {found.measure}, {alike} of {len(on.graphs)} graphs as the one that is on"
        )
    yield found.reason


def main(
    target: Annotated[
        str, typer.Option(help="Whose work to measure: intel, reference, or jetson by the plan of NVIDIA's builder.")
    ],
    case: Annotated[
        list[str] | None, typer.Option(help=f"A model; may be repeated. Default: {', '.join(CASES)}.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=LIMITS["count"].most, help="Timed rounds of each run of sessions.")
    ] = 3,
    threads: Annotated[
        int, typer.Option(min=0, max=LIMITS["threads"].most, help="Threads; 0: the runtime's choice.")
    ] = 1,
    clock: Annotated[Literal["wall", "cpu"], typer.Option(help="cpu where other work disturbs wall time.")] = "cpu",
    work: Annotated[Path, typer.Option(help="Where graphs and plans are kept; a later run goes on from them.")] = Path(
        "build/rates"
    ),
    write: Annotated[bool, typer.Option("--write", help="Store the answer beside the target.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Measure what work costs a target when a graph is folded.

    Exit codes: 0 measured, 2 bad input, 3 the runtime or NVIDIA's builder is not here.

    Example: python -m studies.rates --target intel --write
    """
    bench = TimingSetup(
        find_target(target), RunConfig(threads=threads), TimingConfig(runs=rounds, warmup=1, burst=BURST), clock
    )
    cases = tuple(case or CASES)
    only = "".join(f" --case {one}" for one in case or ())
    command = (
        f"python -m studies.rates --target {target}{only} --rounds {rounds} --threads {threads} --clock {clock} --write"
    )
    found = measure_rates(cases, GRID, bench, work, command)
    text = dumps(found.model_dump(mode="json", exclude_none=True), indent=1, ensure_ascii=False) + "\n"
    if write:
        write_text(ROOT / "targets" / target / FILE, text)
    print_answer(text if as_json else "\n".join(lines(found)))


if __name__ == "__main__":
    run_script(main)
