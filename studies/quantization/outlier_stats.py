"""Massive activations: how far a few channels stand out of the rest, where a layer norm or a linear reads them.

A quantizer with one scale per tensor spends its steps on the largest value; what the other channels get is the ratio of
their largest values to it. Measured per channel, over images and tokens: max |x_c| at the input of each layer norm (the
residual stream) and of each product with constant weights (what is quantized).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from bundle.base.frozen import Frozen
from compile.graphs.nodes import add_constant, constant, nodes_of
from compile.stage.compare import open_graph
from compile.stage.graph_info import Array


class Massive(Frozen):
    """What one node reads: its largest magnitude, in which channel, and the median channel's largest magnitude."""

    reader: str
    largest: float
    channel: int
    median: float

    @property
    def ratio(self) -> float:
        """How many times the median channel's largest magnitude the largest channel's is."""
        return self.largest / self.median if self.median else float("inf")


def measure_massive(graph: Path, feeds: Sequence[Mapping[str, Array]], *, threads: int) -> tuple[Massive, ...]:
    """Run a float graph on every feed and return a row for each tensor that a norm or linear reads.

    Raises:
        GraphError: ONNX Runtime refuses the graph.
    """
    model = ShapeInferencePass()(ir.load(graph)).model
    readers = _probe(model)
    if not readers:
        return ()
    with TemporaryDirectory(prefix="massive.") as scratch:
        path = Path(scratch) / graph.name
        ir.save(model, path)
        with open_graph(path, exact=False, threads=threads) as session:
            seen = [session.infer(feed) for feed in feeds]
    peaks = {name: np.max([answer[output] for answer in seen], axis=0) for output, name in readers.items()}
    return tuple(
        Massive(reader=name, largest=float(peak.max()), channel=int(peak.argmax()), median=float(np.median(peak)))
        for name, peak in peaks.items()
    )


def describe_massive(rows: Sequence[Massive]) -> str:
    """Say in one line where a channel stands out most."""
    if not rows:
        return "no layer norm and no linear"
    widest = max(rows, key=lambda row: row.ratio)
    return (
        f"largest activation {widest.largest:.3g} before {widest.reader} (channel {widest.channel}), "
        f"{widest.ratio:.0f} times the median channel's {widest.median:.2g}"
    )


def _probe(model: ir.Model) -> dict[str, str]:
    """Make each channel's largest magnitude before each norm and linear an output; return the readers' names by output."""
    found: dict[str, str] = {}
    seen: set[ir.Value] = set()
    for node in [*nodes_of(model, "LayerNormalization"), *nodes_of(model, "MatMul")]:
        value, weights = node.inputs[0], constant(node.inputs[1])
        if value is None or value in seen or value.shape is None or weights is None:
            continue
        seen.add(value)
        name = f"{node.name}/peaks"
        axes = add_constant(model, f"{name}/axes", np.arange(len(value.shape) - 1, dtype=np.int64))
        size = ir.Node("", "Abs", [value], name=f"{name}/size")
        peak = ir.Node("", "ReduceMax", [size.outputs[0], axes], [ir.AttrInt64("keepdims", 0)], name=name)
        peak.outputs[0].name, peak.outputs[0].dtype = name, ir.DataType.FLOAT
        peak.outputs[0].shape = ir.Shape([weights.shape[0]])
        size.outputs[0].name = f"{name}/size"
        model.graph.extend([size, peak])
        model.graph.outputs.append(peak.outputs[0])
        found[name] = str(node.name)
    return found
