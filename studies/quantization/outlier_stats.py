"""ChannelPeak activations: how far a few channels stand out of the rest, where a layer norm or a linear reads them.

A quantizer with one scale per tensor spends its steps on the largest value; what the other channels get is the ratio of
their largest values to it. Measured per channel, over images and tokens: max |x_c| at the input of each layer norm (the
residual stream) and of each product with constant weights (what is quantized).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from bundle.base.frozen import Frozen
from compile.graphs.nodes import constant, nodes_of, shape_of
from compile.graphs.tensor_ranges import measure_peaks
from compile.stage.graph_info import Array


class ChannelPeak(Frozen):
    """What one node reads: its largest magnitude, in which channel, and the median channel's largest magnitude."""

    reader: str
    largest: float
    channel: int
    median: float

    @property
    def ratio(self) -> float:
        """How many times the median channel's largest magnitude the largest channel's is."""
        return self.largest / self.median if self.median else float("inf")


def measure_outliers(graph: Path, feeds: Sequence[Mapping[str, Array]], *, threads: int) -> tuple[ChannelPeak, ...]:
    """Run a float graph on every feed and return a row for each tensor that a norm or linear reads.

    Raises:
        GraphError: ONNX Runtime refuses the graph.
    """
    model = ShapeInferencePass()(ir.load(graph)).model
    readers = _readers(model)
    peaks = measure_peaks(model, list(readers), feeds, by_channel=True, exact=False, threads=threads) if readers else []
    return tuple(
        ChannelPeak(
            reader=name,
            largest=float(peak.max()),
            channel=int(peak.argmax()),
            median=float(np.median(peak.astype(np.float64))),
        )
        for name, peak in zip(readers.values(), peaks, strict=True)
    )


def describe_outliers(rows: Sequence[ChannelPeak]) -> str:
    """Say in one line where a channel stands out most."""
    if not rows:
        return "no layer norm and no linear"
    widest = max(rows, key=lambda row: row.ratio)
    return (
        f"largest activation {widest.largest:.3g} before {widest.reader} (channel {widest.channel}), "
        f"{widest.ratio:.0f} times the median channel's {widest.median:.2g}"
    )


def _readers(model: ir.Model) -> dict[ir.Value, str]:
    """Return each value of a known shape that a norm or a linear reads, with its first reader's name."""
    readers: dict[ir.Value, str] = {}
    for node in [*nodes_of(model, "LayerNormalization"), *nodes_of(model, "MatMul")]:
        value = node.inputs[0]
        if value is not None and shape_of(value) is not None and constant(node.inputs[1]) is not None:
            readers.setdefault(value, str(node.name))
    return readers
