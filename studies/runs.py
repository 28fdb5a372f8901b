"""Run an ONNX graph on a target's runtime, for a measurement."""

from pathlib import Path
from typing import NamedTuple

from compile.evaluation.timing import Clock
from compile.stage.config import TimingConfig
from targets.base import RunConfig, Session, Target, Variant
from targets.reference.target import F32


class TimingSetup(NamedTuple):
    """How to measure."""

    target: Target
    run: RunConfig
    timing: TimingConfig
    clock: Clock


def open_graph(graph: Path, bench: TimingSetup) -> Session:
    """Open an ONNX graph in float32 on the target's runtime."""
    variant = Variant(recipe=F32, files=convert_graph(graph, bench.target))
    return bench.target.open(graph.parent, variant, bench.run, "auto", keep=graph.parent)


def convert_graph(graph: Path, target: Target) -> tuple[str, ...]:
    """Write an ONNX graph as the target's runtime reads it, beside it; return the files' names, the graph's first."""
    return target.convert(graph, graph.with_suffix(f".float{target.graph_suffix}"))
