"""Where the benchmark's time goes, by op: each runtime's own clock of every kernel, the least of some runs.

A latency of half a second scatters on a machine that is shared; the least time of each of its kernels does so much less,
for only a few milliseconds of quiet are needed for each of them. On one thread, so that no kernel waits for another core.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from bundle.base.frozen import Frozen
from studies.runs import convert_graph
from targets.base import Array
from targets.intel.kernels import kernel_times as openvino_kernels
from targets.kernels import KernelTime, least
from targets.reference.kernels import kernel_times as onnxruntime_kernels
from targets.table import target as find_target

# The passes are minutes apart, so that a disturbance of a minute spoils one of them.
PASSES, RUNS = 3, 10
SHOWN = 0.01  # an op's share of the largest total, from which on it has a line of its own
OTHERS = "others"
PART = "adapter_"  # begins the name of a graph that is the adapters alone

Profiler = Callable[..., list[KernelTime]]
PROFILERS: dict[str, Profiler] = {"openvino": openvino_kernels, "onnxruntime": onnxruntime_kernels}


class ProfiledGraph(NamedTuple):
    """An ONNX graph as a runtime gets it, and what to feed it."""

    path: Path
    feed: Mapping[str, Array]


class OpTime(Frozen):
    """What the nodes of one operator take in one graph on one runtime."""

    runtime: str
    graph: str
    op: str
    nodes: int
    ms: float


def profile(jobs: Mapping[tuple[str, str], ProfiledGraph], targets: Mapping[str, str]) -> tuple[OpTime, ...]:
    """Profile graphs by (runtime, name), each on its runtime; ``targets`` names the target of each runtime."""
    files = {
        key: job.path.parent / convert_graph(job.path, find_target(targets[key[0]]))[0] for key, job in jobs.items()
    }
    found: dict[tuple[str, str], list[KernelTime]] = defaultdict(list)
    for _ in range(PASSES):
        for key, job in jobs.items():
            found[key] += PROFILERS[key[0]](files[key], job.feed, runs=RUNS, threads=1)
    return tuple(row for (runtime, name), kernels in found.items() for row in by_op(runtime, name, least(kernels)))


def by_op(runtime: str, graph: str, kernels: Iterable[KernelTime]) -> list[OpTime]:
    """Sum the kernels of each operator, the dearest first."""
    sums: dict[str, list[float]] = defaultdict(list)
    for kernel in kernels:
        sums[kernel.op].append(kernel.ms)
    rows = [OpTime(runtime=runtime, graph=graph, op=op, nodes=len(ms), ms=sum(ms)) for op, ms in sums.items()]
    return sorted(rows, key=lambda row: -row.ms)


def totals(rows: Iterable[OpTime], runtime: str) -> dict[str, float]:
    """Return the milliseconds of all kernels of each graph on a runtime."""
    found: dict[str, float] = defaultdict(float)
    for row in rows:
        if row.runtime == runtime:
            found[row.graph] += row.ms
    return dict(found)


def op_table(rows: Iterable[OpTime], runtime: str, graphs: Iterable[str]) -> list[str]:
    """Write a Markdown table: a line per operator, a column per graph, milliseconds and (nodes); small ones are summed up."""
    columns = list(graphs)
    own = {(row.op, row.graph): row for row in rows if row.runtime == runtime and row.graph in columns}
    sums = totals(own.values(), runtime)
    ops = sorted({op for op, _ in own}, key=lambda op: -max(own[op, one].ms for one in columns if (op, one) in own))
    least_ms = SHOWN * max(sums.values())
    shown = [op for op in ops if any((op, one) in own and own[op, one].ms >= least_ms for one in columns)]
    lines = [f"| {runtime}, ms (nodes) | {' | '.join(columns)} |", "|" + "---|" * (len(columns) + 1)]
    for op in shown:
        cells = [f"{own[op, one].ms:.1f} ({own[op, one].nodes})" if (op, one) in own else "" for one in columns]
        lines.append(f"| {op} | {' | '.join(cells)} |")
    rest = [[own[op, column] for op in ops if op not in shown and (op, column) in own] for column in columns]
    if any(rest):
        cells = [f"{sum(row.ms for row in few):.1f} ({sum(row.nodes for row in few)})" for few in rest]
        lines.append(f"| {OTHERS} | {' | '.join(cells)} |")
    return [*lines, f"| **all** | {' | '.join(f'**{sums[one]:.1f}**' for one in columns)} |"]
