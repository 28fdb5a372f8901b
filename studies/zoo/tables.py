"""The tables of docs/studies/zoo.md: what each row can do, what it costs on Intel, and what NVIDIA's builder makes of it."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from bundle.judging import wording
from bundle.judging.regression_report import RegressionReport
from bundle.judging.verdict import delta_m, relative_drop
from studies.bundle_cells import measured, milliseconds, plan_cells, table, verdict, worst_drops
from studies.bundle_files import Made
from studies.zoo.jobs import TARGETS, Terms
from studies.zoo.results import Result
from studies.zoo.rows import BASELINE

INTEL, JETSON = TARGETS
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
    return "\n\n".join([_header(results, terms), _metrics(results), _costs(results), _plans(results)])


def _header(results: Sequence[Result], terms: Terms) -> str:
    made = [one for result in results for one in result.bundles.values() if isinstance(one, Made)]
    return measured(made, f'make zoo options="--evaluation-count {terms.images}"')


def _metrics(results: Sequence[Result]) -> str:
    """Write the metrics of the float32 model, and Δm against the same heads without adapters."""
    tasks = list(dict.fromkeys(task for result in results for task in result.row.config.model.tasks))
    base = next((_report(result) for result in results if result.row.name == BASELINE), None)
    rows = [[result.row.name, *_metric_cells(result, tasks, base), *_size_cells(result)] for result in results]
    return table(("metrics", *tasks, *METRIC_HEAD), rows)


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
    return table(("intel", *INTEL_HEAD), [_row(result, INTEL, _cost_cells, len(INTEL_HEAD)) for result in results])


def _plans(results: Sequence[Result]) -> str:
    return table(("jetson", *JETSON_HEAD), [_row(result, JETSON, _graph_cells, len(JETSON_HEAD)) for result in results])


def _row(result: Result, target: str, cells: Cells, width: int) -> list[str]:
    """Return a row of a target's table; one without a bundle says why."""
    made = result.bundles[target]
    if isinstance(made, str):
        return [result.row.name, made, *[""] * (width - 1)]
    tail = [verdict(made), f"{made.bytes / 1e6:.1f}", f"{made.seconds:.0f}"]
    return [result.row.name, *cells(result, made), *tail]


def _cost_cells(result: Result, made: Made) -> list[str]:
    folding = made.folding
    macs = [f"{count / 1e9:.3f}" for count in (folding.macs_before, folding.macs_after)]
    return [
        *macs,
        _growth(folding.macs_after, result.fewer_macs),
        milliseconds(made),
        made.manifest.shipped,
        worst_drops(made.report),
    ]


def _growth(macs: int, fewer: int | str) -> str:
    """Return what the last task adds to the folded graph, also relative to the graph without it."""
    return fewer if isinstance(fewer, str) else f"{(macs - fewer) / 1e6:.0f} ({wording.percent(macs / fewer - 1)})"


def _graph_cells(result: Result, made: Made) -> list[str]:
    return [made.manifest.shipped, *plan_cells(made), worst_drops(made.report), _lint(made)]


def _lint(made: Made) -> str:
    """Return the findings over all graphs of the bundle."""
    graphs = () if made.lint is None else made.lint.graphs
    counts = (
        sum(len(found) for found in kind) for kind in ([one.errors for one in graphs], [one.warnings for one in graphs])
    )
    return "/".join(map(str, counts)) if graphs else "no lint"
