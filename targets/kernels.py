"""A runtime's own clock of every kernel it runs, for benchmarks: the same record from each runtime."""

from collections.abc import Iterable
from typing import NamedTuple


class KernelTime(NamedTuple):
    """One node of the graph as the runtime runs it: its operator there, and its least time over some runs, in milliseconds."""

    node: str
    op: str
    ms: float


def least(runs: Iterable[KernelTime]) -> list[KernelTime]:
    """Keep each node's least time: what disturbs a run only ever adds to it."""
    found: dict[tuple[str, str], float] = {}
    for run in runs:
        key = (run.node, run.op)
        found[key] = min(run.ms, found.get(key, run.ms))
    return [KernelTime(node, op, ms) for (node, op), ms in found.items()]
