"""How large every tensor of a graph gets on real images: what decides where FP16 is wide enough.

Each float32 value gets Abs → ReduceMax → one more output, so a run holds one tensor at a time, not a thousand. A value that
something is divided by, or whose logarithm is taken, gets Abs → ReduceMin too: FP16 rounds a small one to 0.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compile.graphs.nodes import names_of, register, shape_of, unused
from compile.graphs.passes.convert_to_fp16 import LARGEST, SMALLEST
from compile.stage.artifacts import Range
from compile.stage.compare import run_model
from compile.stage.graph_info import Array

DIVISORS = {"Div": 1, "Log": 0, "Reciprocal": 0}  # the input whose smallest magnitude counts
HEADROOM = 4.0  # images that were not measured may be this much larger; one bit more than the field's usual factor 2


def measure_ranges(graph_path: Path, feeds: Sequence[Mapping[str, Array]], *, threads: int) -> tuple[Range, ...]:
    """Run a float32 or Q/DQ graph on every feed, as its operators are defined, and return each float tensor's range.

    Raises:
        GraphError: ONNX Runtime refuses the graph.
    """
    model = ShapeInferencePass()(ir.load(graph_path)).model
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    values = [value for value in values if value.dtype == ir.DataType.FLOAT]
    divisors = [value for value in values if any(DIVISORS.get(node.op_type) == at for node, at in value.uses())]
    wanted = [*((value, "ReduceMax") for value in values), *((value, "ReduceMin") for value in divisors)]
    found = _measure(model, wanted, feeds, exact=True, threads=threads)
    least = {value: float(low) for value, low in zip(divisors, found[len(values) :], strict=True) if np.isfinite(low)}
    peaks = zip(values, map(float, found[: len(values)]), strict=True)
    return tuple(Range(tensor=str(value.name), largest=peak, divisor=least.get(value)) for value, peak in peaks)


def measure_peaks(
    model: ir.Model,
    values: Sequence[ir.Value],
    feeds: Sequence[Mapping[str, Array]],
    *,
    by_channel: bool = False,
    exact: bool,
    threads: int,
) -> list[Array]:
    """Return max |x| over all feeds of each of the model's float32 values, as a scalar, NaN if one element is.

    ``by_channel`` returns one for each index of the last axis. The model gets the outputs that this needs.

    Raises:
        GraphError: ONNX Runtime refuses the graph.
    """
    wanted = [(value, "ReduceMax") for value in values]
    return _measure(model, wanted, feeds, by_channel=by_channel, exact=exact, threads=threads)


def _measure(
    model: ir.Model,
    wanted: Sequence[tuple[ir.Value, str]],
    feeds: Sequence[Mapping[str, Array]],
    *,
    by_channel: bool = False,
    exact: bool,
    threads: int,
) -> list[Array]:
    """Return each value's max |x| (ReduceMax) or min |x| (ReduceMin) over all feeds."""
    graph, taken = model.graph, names_of(model.graph)
    extremes = [_extreme(model, value, reduction, taken, by_channel=by_channel) for value, reduction in wanted]
    graph.outputs.extend(extremes)
    runs = run_model(model, feeds, exact=exact, threads=threads)
    over = {"ReduceMax": np.max, "ReduceMin": np.min}
    return [
        np.asarray(over[reduction]([outputs[str(extreme.name)] for outputs in runs], axis=0))
        for (_, reduction), extreme in zip(wanted, extremes, strict=True)
    ]


def _extreme(model: ir.Model, value: ir.Value, reduction: str, taken: set[str | None], *, by_channel: bool) -> ir.Value:
    outer, inner = (unused(f"{value.name}/{suffix}", taken) for suffix in (reduction, f"{reduction}/size"))
    size = ir.Node("", "Abs", [value], name=inner)
    size.outputs[0].name = inner
    inputs, shape = [size.outputs[0]], list[int]()
    if by_channel:
        sizes = shape_of(value) or ()
        axes = register(model, unused(f"{value.name}/axes", taken), np.arange(len(sizes) - 1, dtype=np.int64))
        inputs, shape = [*inputs, axes], [*sizes[-1:]]
    extreme = ir.Node("", reduction, inputs, [ir.AttrInt64("keepdims", 0)], name=outer)
    extreme.outputs[0].name, extreme.outputs[0].dtype, extreme.outputs[0].shape = (
        outer,
        ir.DataType.FLOAT,
        ir.Shape(shape),
    )
    model.graph.extend([size, extreme])
    return extreme.outputs[0]


def too_wide(ranges: Sequence[Range]) -> dict[str, str]:
    """Return the tensors that FP16 does not hold with ``HEADROOM`` to spare, with what there is to say."""
    found = {}
    for row in ranges:
        if not row.largest * HEADROOM <= LARGEST:
            reached = f"{row.largest:.4g}" if np.isfinite(row.largest) else "NaN or infinity"
            found[row.tensor] = f"{row.tensor} reaches {reached}, FP16 ends at {LARGEST:g}"
        elif 0 < row.largest < SMALLEST:
            found[row.tensor] = f"{row.tensor} stays below {row.largest:.3g}, FP16 is exact from {SMALLEST:.3g}"
        elif row.divisor is not None and row.divisor < SMALLEST * HEADROOM:
            found[row.tensor] = (
                f"{row.tensor}, a divisor, falls to {row.divisor:.3g}, FP16 is exact from {SMALLEST:.3g}"
            )
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


def widest(ranges: Sequence[Range], count: int) -> tuple[Range, ...]:
    """Return the ``count`` largest ranges, the largest first."""
    return tuple(sorted(ranges, key=lambda row: -np.nan_to_num(row.largest, nan=np.inf))[:count])
