"""The tables of docs/studies/zoo.md: what each row can do, what it costs on Intel, and what NVIDIA's builder makes of it."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from bundle.judging import wording
from bundle.judging.regression_report import RegressionReport, verdicts_of
from bundle.judging.standing import variant_summary
from bundle.judging.verdict import delta_m, relative_drop
from compile.quantization.contenders import PLAIN, REPAIRS
from compile.tensorrt_checks.plan_gates import REFERENCE
from studies.zoo.jobs import TARGETS, Terms
from studies.zoo.results import Made, Result
from studies.zoo.rows import BASELINE

INTEL, JETSON = TARGETS
INT8 = (PLAIN, *REPAIRS)
BUSY = "†"
Cells: TypeAlias = Callable[[Result, Made], list[str]]
METRIC_HEAD = ("Δm", "trained M", "checkpoint MB")
INTEL_HEAD = (
    "GMAC exported",
    "GMAC folded",
    "MMAC per added task",
    "ms",
    "ships",
    "INT8, worst task",
    "verdict",
    "bundle MB",
    "s",
)
JETSON_HEAD = (
    "ships",
    "kernels",
    "MB moved",
    "attentions fused",
    "INT8, worst task",
    "lint errors/warnings",
    "verdict",
    "bundle MB",
    "s",
)


def markdown(results: Sequence[Result], terms: Terms) -> str:
    """Return the tables, and what they were measured on."""
    return "\n\n".join([_measured(results, terms), _metrics(results), _costs(results), _plans(results)])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["--"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _measured(results: Sequence[Result], terms: Terms) -> str:
    """Say on what machine, with which tools, and how busy it was."""
    made = [one for result in results for one in result.bundles.values() if isinstance(one, Made)]
    if not made:
        return "`make zoo`: no bundle was built."
    report, tools = made[0].report, made[0].manifest.tools
    loads = [one.bench.load.before[0] for one in made if one.bench and one.bench.load and one.bench.load.before]
    busy = f"load average {min(loads):.1f} to {max(loads):.1f} before a row is timed" if loads else "load not known"
    names = ", ".join(f"{name} {version}" for name, version in tools.items())
    return (
        f'`make zoo options="--evaluation-count {terms.images}"`: {report.images} validation images, on {report.device.name} '
        f"({', '.join(report.device.isa)}); {busy}; {names}."
    )


def _metrics(results: Sequence[Result]) -> str:
    """Write the metrics of the float32 model, and Δm against the same heads without adapters."""
    tasks = list(dict.fromkeys(task for result in results for task in result.row.config.model.tasks))
    base = next((_report(result) for result in results if result.row.name == BASELINE), None)
    rows = [[result.row.name, *_metric_cells(result, tasks, base), *_size_cells(result)] for result in results]
    return _table(("metrics", *tasks, *METRIC_HEAD), rows)


def _report(result: Result) -> RegressionReport | None:
    made = result.bundles[INTEL]
    return made.report if isinstance(made, Made) else None


def _metric_cells(result: Result, tasks: Sequence[str], base: RegressionReport | None) -> list[str]:
    made = result.bundles[INTEL]
    if isinstance(made, str):
        return [made, *[""] * len(tasks)]
    found = made.report.tasks
    cells = [
        wording.metric_value(found[task].metric, found[task].reference) if task in found else "–" for task in tasks
    ]
    return [*cells, f"not run: {BASELINE}" if base is None else wording.points(_gain(made.report, base))]


def _gain(report: RegressionReport, base: RegressionReport) -> float:
    """Return Δm of the float32 model over the baseline's, percent."""
    pairs = [(base.tasks[name], task) for name, task in report.tasks.items() if name in base.tasks]
    drops = [relative_drop(_array(old.reference), _array(new.reference), new.direction) for old, new in pairs]
    return delta_m([float(drop) for drop in drops])


def _array(value: float | None) -> np.ndarray:
    return np.asarray(np.nan if value is None else value)


def _size_cells(result: Result) -> list[str]:
    trained = None if result.card is None else result.card.trained
    size = f"{result.checkpoint_bytes / 1e6:.2f}" if result.checkpoint_bytes else "no checkpoint"
    return ["no card" if trained is None else f"{trained / 1e6:.3f}", size]


def _costs(results: Sequence[Result]) -> str:
    return _table(("intel", *INTEL_HEAD), [_row(result, INTEL, _cost_cells, len(INTEL_HEAD)) for result in results])


def _plans(results: Sequence[Result]) -> str:
    return _table(("jetson", *JETSON_HEAD), [_row(result, JETSON, _plan_cells, len(JETSON_HEAD)) for result in results])


def _row(result: Result, target: str, cells: Cells, width: int) -> list[str]:
    """Return a row of a target's table; one without a bundle says why."""
    made = result.bundles[target]
    if isinstance(made, str):
        return [result.row.name, made, *[""] * (width - 1)]
    tail = [_verdict(made), f"{made.bytes / 1e6:.1f}", f"{made.seconds:.0f}"]
    return [result.row.name, *cells(result, made), *tail]


def _cost_cells(result: Result, made: Made) -> list[str]:
    folding, bench = made.folding, made.bench
    time = "not timed" if bench is None or bench.shipped_ms is None else f"{bench.shipped_ms:.2f}"
    mark = f" {BUSY}" if bench is not None and bench.disturbed else ""
    macs = [f"{count / 1e9:.3f}" for count in (folding.macs_before, folding.macs_after)]
    return [
        *macs,
        _growth(folding.macs_after, result.fewer_macs),
        time + mark,
        made.manifest.shipped,
        _worst(made.report),
    ]


def _growth(macs: int, fewer: int | str) -> str:
    """Return what the last task adds to the folded graph, also relative to the graph without it."""
    return fewer if isinstance(fewer, str) else f"{(macs - fewer) / 1e6:.0f} ({wording.percent(macs / fewer - 1)})"


def _worst(report: RegressionReport) -> str:
    """Return each INT8 graph's largest drop and its task, or why it was not judged."""
    cells = []
    for row in (row for row in report.variants if row.name in INT8):
        drops = {name: np.inf if task.drop_relative is None else task.drop_relative for name, task in row.tasks.items()}
        worst = max(drops, key=lambda name: drops[name], default="")
        text = f"{wording.percent(row.tasks[worst].drop_relative)} {worst}" if worst else row.reason
        cells.append(text if row.name == PLAIN else f"{row.name}: {text}")
    return "; ".join(cells) or "no INT8 graph"


def _verdict(made: Made) -> str:
    """Return how the shipped variant fares, with the other checks that failed."""
    if not made.failed:
        return "within every budget"
    summary = variant_summary(verdicts_of(made.report), accepted=False)
    plans = [] if made.proof is None else [f"plan check failed: {gate.got}" for gate in made.proof.failed]
    return "; ".join([summary, *plans])


def _plan_cells(result: Result, made: Made) -> list[str]:
    return [made.manifest.shipped, *_kernels(made), _worst(made.report), _lint(made)]


def _kernels(made: Made) -> list[str]:
    """Return the kernels of the shipped graph, what they move, and its fused attentions beside those of the FP16 graph."""
    plan, proof = made.plan, made.proof
    if plan is None or proof is None:
        return ["no proof" if proof is None else f"{proof.status}: {proof.reason}", "", ""]
    half = next((one for one in proof.graphs if one.graph == REFERENCE), None)
    beside = "" if half is None else f" ({half.fused} in FP16)"
    return [str(plan.kernels), f"{plan.moved_bytes / 1e6:.1f}", f"{plan.fused} of {plan.attentions}{beside}"]


def _lint(made: Made) -> str:
    """Return the findings over all graphs of the bundle."""
    graphs = () if made.lint is None else made.lint.graphs
    counts = (
        sum(len(found) for found in kind) for kind in ([one.errors for one in graphs], [one.warnings for one in graphs])
    )
    return "/".join(map(str, counts)) if graphs else "no lint"
