"""How small an output may be before it is measured against what its last operators could give.

A relative error says nothing about an output near 0: a sigmoid of −25 is 1e-11, and two correct runtimes differ by more than
that; a difference of equal numbers is rounding alone. So an output has a scale, and its floor is ``FLOOR`` of that:

    Sigmoid, Softmax, …    1, whatever they read
    Add, Sub, Max, …       the largest scale of what they read; so do Reshape, Resize, Relu, and all that move or select
    Mul                    the product of the scales
    Conv, Gemm, MatMul     max |a| · max |b| · √K, for sums of K products
    others                 what they gave, at most: nothing is known of them

Linear operators have scales of their operands' size. Thus an output that is small by design keeps a small floor.

A graph may also magnify rounding: a steep sigmoid behind a hundred layers does. There float32 is far from float64, whoever
computes it, and ``comparison_floors`` asks for no more than that.
"""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from bundle.base.errors import GraphError
from compile.graphs.nodes import WEIGHTED, constant, gemm_size, input_at, is_standard
from compile.graphs.pytorch.evaluate import evaluate_each
from compile.graphs.tensor_ranges import measure_peaks
from compile.stage.compare import run_model
from compile.stage.graph_info import Array

ROUNDINGS = 1e5  # of float32's own error: a tolerance of 1e-5 admits it, one of 1e-4 ten of it
FLOOR = 0.01  # of the scale; a tolerance of it is near float32's rounding of a value of that size
BOUNDED = frozenset({"Cos", "Erf", "HardSigmoid", "Sigmoid", "Sin", "Softmax", "Softsign", "Tanh"})
LARGEST_INPUT = frozenset(
    {
        *("Abs", "Add", "AveragePool", "Cast", "Clip", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten"),
        *("Gather", "GatherElements", "GatherND", "GlobalAveragePool", "GlobalMaxPool", "Identity", "LeakyRelu", "Max"),
        *("MaxPool", "Mean", "Min", "Neg", "Pad", "PRelu", "ReduceMax", "ReduceMean", "ReduceMin", "Relu", "Reshape"),
        *(
            "Resize",
            "Slice",
            "SpaceToDepth",
            "Split",
            "Squeeze",
            "Sub",
            "Sum",
            "Tile",
            "Transpose",
            "Unsqueeze",
            "Where",
        ),
    }
)


def output_floors(model: ir.Model, feeds: Sequence[Mapping[str, Array]], *, threads: int) -> dict[str, float]:
    """Return the floor of each float32 output, from one run over the feeds; the model is changed.

    Raises:
        GraphError: ONNX Runtime refuses the graph.
    """
    model = ShapeInferencePass()(model).model
    model.graph.sort()
    outputs, nodes = list(model.graph.outputs), list(model.graph)
    values = [*model.graph.inputs, *(value for node in nodes for value in node.outputs)]
    values = [value for value in values if value.dtype == ir.DataType.FLOAT]
    measured = measure_peaks(model, values, feeds, exact=False, threads=threads)
    scales = {value: float(peak) for value, peak in zip(values, measured, strict=True)}
    peaks = dict(scales)
    for node in nodes:
        scale = _scale(node, scales, peaks)
        scales |= {value: max(scale, peaks[value]) for value in node.outputs if value in peaks}
    return {str(value.name): FLOOR * scales[value] for value in outputs if value in scales}


def comparison_floors(model: ir.Model, feeds: Sequence[Mapping[str, Array]], *, threads: int) -> dict[str, float]:
    """Return the floors for a comparison of two graphs in float32: at least ``ROUNDINGS`` times what float32 itself differs.

    A graph with an operator that is not computed in float64 keeps its output floors.

    Raises:
        GraphError: ONNX Runtime refuses the graph.
    """
    single = run_model(model, feeds, threads=threads)
    floors = output_floors(model.clone(), feeds, threads=threads)
    try:
        double = evaluate_each(model, feeds, list(floors))
    except GraphError:
        return floors

    def rounding(name: str) -> float:
        return max(_largest_difference(one[name], other[name]) for one, other in zip(single, double, strict=True))

    return {name: max(floor, ROUNDINGS * rounding(name)) for name, floor in floors.items()}


def _scale(node: ir.Node, scales: Mapping[ir.Value, float], peaks: Mapping[ir.Value, float]) -> float:
    """Return what a node could give, 0 where nothing is known of its operator."""
    if not is_standard(node):
        return 0.0
    read = [scales.get(value, _stored(value)) for value in node.inputs if value is not None]
    if node.op_type in BOUNDED:
        return 1.0
    if node.op_type in LARGEST_INPUT:
        return max(read, default=0.0)
    if node.op_type == "Mul":
        return prod(read)
    size = gemm_size(node) if node.op_type in WEIGHTED else None
    if size is None:
        return 0.0
    left, right = (input_at(node, index) for index in (0, 1))
    return float(_peak(left, peaks) * _peak(right, peaks) * size[1] ** 0.5)


def _peak(value: ir.Value | None, peaks: Mapping[ir.Value, float]) -> float:
    return 0.0 if value is None else peaks.get(value, _stored(value))


def _stored(value: ir.Value) -> float:
    """Return the largest magnitude of a float constant, 0 of anything else."""
    array = constant(value)
    return float(abs(array).max(initial=0)) if array is not None and array.dtype.kind == "f" else 0.0


def _largest_difference(one: Array, other: Array) -> float:
    difference: float = np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0)
    return difference
