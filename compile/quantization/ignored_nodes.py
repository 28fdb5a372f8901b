"""Which nodes of a graph stay in float when it is quantized, and why: found by structure, and by a scheme's patterns.

gate path    from a mean that leaves one vector per image to the product that applies it: nothing saved, much lost
head         before the first weighted operator: arithmetic on pixels
tail         after the last weighted operator: nothing that follows gains from INT8, the answer only gets coarser
thin         a GEMM or convolution whose K or N is below what the device multiplies well (``thin_below``)
few channels a convolution that reads fewer than four, on every device (the patch embedding: a third of a task's noise, .4 %
             of the MACs)
transforms   a product with a constant whose rows or columns are orthogonal, as a Fourier transform's: no learned weight is that.
             A spectrum's frequency 0 is tens of times the rest, and one scale is for all (docs/decisions/0612)
heads        a 1×1 convolution behind which only others of them and operators without weights come before an output, where the
             device computes such a head in fewer bytes as float (the scheme's ``heads``)
"""

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import ShapeInferencePass

from compile.graphs.end_nodes import end_nodes, is_weighted, live_inputs
from compile.graphs.insert import MADE_BY
from compile.graphs.nodes import Array, constant, gemm_size, input_at, integer, shape_of
from compile.graphs.passes.pool_as_product import NAME as POOLING
from targets.base import QuantizationScheme

MEANS = frozenset({"GlobalAveragePool", "ReduceMean"})
ELEMENTWISE = frozenset({"Add", "Div", "Mul", "Sub", "Where"})
GATE = "gate path: one vector per image, its error would go into every channel"
FEW_CHANNELS = 4
POINTWISE_HEAD = "head: a 1×1 convolution with nothing but such convolutions behind it before an output"
TRANSFORM = "transform: the rows or columns of its matrix are orthogonal, and what it reads or writes is a spectrum"
ORTHOGONAL = 1e-5  # largest product of two rows, relative to the longest row's square.
PROBED = 8  # Rows that are compared with all others first: a learned matrix fails there, however large.
THIN, FEW = "thin: ", "few channels: "  # What the reasons of such nodes begin with; the sizes follow


def ignored_nodes(graph_path: Path, scheme: QuantizationScheme) -> dict[str, str]:
    """Return the reason for each node of an ONNX graph that is not to be quantized, by node name.

    A node that several rules name keeps the reason of the first in the order above, the scheme's patterns last.
    """
    model = ir.load(graph_path)
    graph = ShapeInferencePass()(model).model.graph
    ends = {node.name: reason for node, reason in end_nodes(graph).items() if node.name}
    heads = _pointwise_heads(graph) if scheme.heads == "float" else {}
    found = (
        heads | _transforms(graph) | _thin(graph, scheme.thin_below) | ends | _gate_path(graph)
    )  # the rightmost reason wins
    for ignored in scheme.ignored:
        matched = {name: ignored.reason for name in _names(graph) if re.fullmatch(ignored.pattern, name)}
        found = matched | found
    return {name: found[name] for name in _names(graph) if name in found}


def value_names(graph_path: Path, nodes: Collection[str]) -> dict[str, str]:
    """Return for each named node of an ONNX graph the name of its first output, which another format may call it by."""
    graph = ir.load(graph_path).graph
    return {str(node.name): str(node.outputs[0].name) for node in graph if node.name in nodes}


def _names(graph: ir.Graph) -> list[str]:
    return [node.name for node in graph if node.name is not None]


def _gate_path(graph: ir.Graph) -> dict[str, str]:
    gate: set[ir.Value] = set()
    found: dict[str, str] = {}
    for node, inputs in live_inputs(graph).items():
        starts = _pools(node) and _is_vector(node.outputs[0])
        inside = bool(inputs) and all(value in gate for value in inputs)
        applies = node.op_type in ELEMENTWISE and any(value in gate for value in inputs)
        if starts or inside:
            gate.update(node.outputs)
        if (starts or inside or applies) and node.name:
            found[node.name] = GATE
    return found


def _pools(node: ir.Node) -> bool:
    """Say whether a node is a mean; a rewritten one is a product with a constant row."""
    return node.op_type in MEANS or (node.op_type == "MatMul" and node.metadata_props.get(MADE_BY) == POOLING)


def _is_vector(value: ir.Value) -> bool:
    """Say whether at most one axis is larger than 1."""
    shape = shape_of(value)
    return shape is not None and sum(size > 1 for size in shape) <= 1


def _pointwise_heads(graph: ir.Graph) -> dict[str, str]:
    last = set[ir.Node]()
    for node in reversed(list(graph)):
        readers = [reader for value in node.outputs for reader, _ in value.uses()]
        if last.issuperset(readers) and (_is_pointwise(node) or not is_weighted(node)):
            last.add(node)
    return {node.name: POINTWISE_HEAD for node in last if node.name and _is_pointwise(node)}


def _is_pointwise(node: ir.Node) -> bool:
    """Say whether a node is a 1×1 convolution of one group."""
    weight = shape_of(input_at(node, 1)) if node.op_type == "Conv" and integer(node, "group", 1) == 1 else None
    return weight is not None and set(weight[2:]) == {1}


def _transforms(graph: ir.Graph) -> dict[str, str]:
    products = [node for node in graph if node.op_type == "MatMul" and node.name]
    matrices = {node: [constant(value) for value in node.inputs] for node in products}
    return {
        str(node.name): TRANSFORM
        for node, found in matrices.items()
        if any(matrix is not None and _is_orthogonal(matrix) for matrix in found)
    }


def _is_orthogonal(matrix: Array) -> bool:
    """Say whether all rows, or all columns, of a matrix are orthogonal to each other; a row may be 0, not all."""
    if matrix.ndim != 2 or 1 in matrix.shape:
        return False
    values = matrix.astype(np.float64)
    return any(_are_apart(rows, PROBED) and _are_apart(rows, len(rows)) for rows in (values, values.T))


def _are_apart(rows: NDArray[np.float64], count: int) -> bool:
    """Say whether each of the first rows is orthogonal to all others."""
    products, squares = rows[:count] @ rows.T, np.square(rows).sum(1)
    np.fill_diagonal(products, 0)
    return bool(abs(products).max() < ORTHOGONAL * squares.max())


def _thin(graph: ir.Graph, least: int) -> dict[str, str]:
    found = {}
    for node in graph:
        size = gemm_size(node) if is_weighted(node) else None
        if size is not None and node.name and _is_thin(size, least, grouped=integer(node, "group", 1) > 1):
            found[node.name] = f"{THIN}M {size[0]}, K {size[1]}, N {size[2]}; INT8 wants at least {least}"
        elif node.name and node.op_type == "Conv" and (channels := _channels(node)) < FEW_CHANNELS:
            found[node.name] = f"{FEW}{channels}; an INT8 layout packs {FEW_CHANNELS} into one element"
    return found


def _is_thin(size: tuple[int, int, int], least: int, *, grouped: bool) -> bool:
    """Say whether a product (M, K, N) is thin; a grouped convolution's K is small by design, and it has kernels of its own."""
    rows, depth, columns = size
    sizes = (columns,) if grouped else (depth, columns)
    return min(sizes) < least or (least > 0 and min(rows, *sizes) == 1)


def _channels(node: ir.Node) -> int:
    """Return the input channels of a convolution that has one group; of any other as many as never matter."""
    weight = shape_of(node.inputs[1])
    return FEW_CHANNELS if weight is None or integer(node, "group", 1) > 1 else weight[1]
