"""How large every tensor of a graph gets on real images: what decides where FP16 is wide enough.

Each float32 value gets Abs → ReduceMax → one more output, so a run holds one tensor at a time, not a thousand.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from bundle.base.frozen import Frozen
from bundle.base.nullable_float import NullableFloat
from compile.graphs.nodes import names_of, unused
from compile.graphs.passes.make_half import LARGEST, SMALLEST
from compile.stage.compare import open_graph
from compile.stage.graph_info import Array

HEADROOM = 4.0  # images that were not measured may be this much larger; one bit more than the field's usual factor 2


class Range(Frozen):
    """The largest magnitude of a tensor over all images; 0 where it is 0 everywhere, NaN where a file says null."""

    tensor: str
    largest: NullableFloat


def measure_ranges(graph_path: Path, feeds: Sequence[Mapping[str, Array]], *, threads: int) -> tuple[Range, ...]:
    """Run a float32 or Q/DQ graph on every feed, as its operators are defined, and return each float tensor's range.

    Raises:
        GraphError: ONNX Runtime refuses the graph.
    """
    model = ShapeInferencePass()(ir.load(graph_path)).model
    tensors = _probe(model.graph)
    with TemporaryDirectory(prefix="ranges.") as scratch:
        ir.save(model, Path(scratch) / graph_path.name)
        with open_graph(Path(scratch) / graph_path.name, exact=True, threads=threads) as session:
            seen = [session.infer(feed) for feed in feeds]
    largest = {probe: float(np.max([outputs[probe] for outputs in seen])) for probe in tensors}  # NaN if one is
    return tuple(Range(tensor=tensor, largest=largest[probe]) for probe, tensor in tensors.items())


def _probe(graph: ir.Graph) -> dict[str, str]:
    """Make the largest magnitude of each float32 value an output of the graph; return the values' names by output."""
    found, taken = dict[str, str](), names_of(graph)
    values = [value for node in graph for value in node.outputs if value.dtype == ir.DataType.FLOAT]
    for value in (*graph.inputs, *values):
        if value.dtype != ir.DataType.FLOAT:
            continue
        probe, inner = (unused(f"{value.name}/{suffix}", taken) for suffix in ("largest", "size"))
        size = ir.Node("", "Abs", [value], name=inner)
        size.outputs[0].name = inner
        peak = ir.Node("", "ReduceMax", [size.outputs[0]], [ir.AttrInt64("keepdims", 0)], name=probe)
        peak.outputs[0].name, peak.outputs[0].dtype, peak.outputs[0].shape = probe, ir.DataType.FLOAT, ir.Shape([])
        graph.extend([size, peak])
        graph.outputs.append(peak.outputs[0])
        found[probe] = str(value.name)
    return found


def too_wide(ranges: Sequence[Range]) -> dict[str, str]:
    """Return the tensors that FP16 does not hold with ``HEADROOM`` to spare, with what there is to say."""
    found = {}
    for row in ranges:
        if not row.largest * HEADROOM <= LARGEST:
            reached = f"{row.largest:.4g}" if np.isfinite(row.largest) else "NaN or infinity"
            found[row.tensor] = f"{row.tensor} reaches {reached}, FP16 ends at {LARGEST:g}"
        elif 0 < row.largest < SMALLEST:
            found[row.tensor] = f"{row.tensor} stays below {row.largest:.3g}, FP16 is exact from {SMALLEST:.3g}"
    return found


def nodes_at(graph: ir.Graph, tensors: Mapping[str, str]) -> dict[str, str]:
    """Return the nodes that write or read one of these tensors, by name, with the tensor's reason."""
    found: dict[str, str] = {}
    for node in graph:
        for value in (*node.outputs, *node.inputs):
            reason = "" if value is None else tensors.get(str(value.name), "")
            if node.name and reason:
                found.setdefault(node.name, reason)
    return found


def widest(ranges: Sequence[Range], count: int) -> list[dict[str, str | float]]:
    """Return the ``count`` largest ranges, the largest first."""
    ordered = sorted(ranges, key=lambda row: -np.nan_to_num(row.largest, nan=np.inf))
    return [row.model_dump() for row in ordered[:count]]
