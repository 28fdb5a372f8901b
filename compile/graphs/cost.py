"""What an ONNX graph costs: multiply-accumulates, bytes moved, parameters and nodes, counted on its static shapes.

    MACs    MatMul, Gemm, Conv: elements written × what each sums over; ConvTranspose: elements read × what each feeds;
            Einsum: the product of all its letters' sizes, once for each operand after the first
    bytes   what every node reads and writes in its own type, before a runtime fuses anything. A node that only names
            the same elements anew moves nothing; one that takes a part reads no more than it writes
    params  the elements of the float initializers that some node reads, each initializer once

A Resize or a mean has no MACs; written as a product with a constant (``resize_as_products``, ``pool_as_product``) it has.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from bundle.base.errors import GraphError
from compile.graphs.nodes import WEIGHTED, gemm_size, input_at, is_standard, label, shape_of

COUNTED = WEIGHTED | {"Einsum"}
RENAMED = frozenset({"Constant", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
PARTIAL = frozenset({"Gather", "GatherElements", "GatherND", "Slice", "Split"})
ELLIPSIS = "..."


class GraphCost(NamedTuple):
    """What a graph costs for one call."""

    macs: int
    moved: int  # bytes
    params: int
    nodes: int


def read_cost(path: Path) -> GraphCost:
    """Return what the graph in a file costs.

    Raises:
        GraphError: a shape is unknown.
    """
    return graph_cost(read_inferred(path))


def read_inferred(path: Path) -> ir.Model:
    """Read a graph and infer its shapes."""
    return ShapeInferencePass()(ir.load(path)).model


def graph_cost(model: ir.Model) -> GraphCost:
    """Return what the main graph of a model costs; its shapes are inferred already.

    Raises:
        GraphError: a shape is unknown.
    """
    graph = model.graph
    return GraphCost(
        macs=sum(macs_by_node(model).values()),
        moved=sum(map(moved_by, graph)),
        params=sum(value.const_value.size for value in parameters(model) if value.const_value is not None),
        nodes=len(graph),
    )


def parameters(model: ir.Model) -> Iterator[ir.Value]:
    """Yield the float initializers of the main graph that some node reads."""
    yield from (value for value in model.graph.initializers.values() if _is_parameter(value))


def macs_by_node(model: ir.Model) -> dict[ir.Node, int]:
    """Return the multiply-accumulates of every product and convolution of the main graph.

    Raises:
        GraphError: the size of one is unknown.
    """
    found = {}
    for node in counted(model):
        macs = node_macs(node)
        if macs is None:
            raise _unknown(node)
        found[node] = macs
    return found


def counted(model: ir.Model) -> Iterator[ir.Node]:
    """Yield the nodes of the main graph that multiply and add, in order."""
    yield from (node for node in model.graph if node.op_type in COUNTED and is_standard(node))


def node_macs(node: ir.Node) -> int | None:
    """Return the multiply-accumulates of one of the ``COUNTED`` operators, None where a shape is unknown."""
    if node.op_type == "Einsum":
        return _einsum(node)
    size, out = gemm_size(node), shape_of(node.outputs[0])
    if size is None or out is None:
        return None
    if node.op_type == "ConvTranspose":
        read, weight = shape_of(input_at(node, 0)), shape_of(input_at(node, 1))
        return None if read is None or weight is None else prod(read) * prod(weight[1:])
    return prod(out) * size[1]


def _einsum(node: ir.Node) -> int | None:
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, value in zip(terms, node.inputs, strict=True):
        shape = shape_of(value)
        if shape is None:
            return None
        for letter, size in _axes(term, shape):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return prod(sizes.values()) * (len(terms) - 1)


def _axes(term: str, shape: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    """Yield an operand's axes by letter; those of an ellipsis get a name by their position from the right."""
    head, dots, tail = term.partition(ELLIPSIS)
    hidden = len(shape) - len(head) - len(tail)
    names = [*head, *(f"{ELLIPSIS}{hidden - index}" for index in range(hidden if dots else 0)), *tail]
    yield from zip(names, shape, strict=True)


def moved_by(node: ir.Node) -> int:
    """Return the bytes that a node reads and writes."""
    if node.op_type in RENAMED:
        return 0
    written = sum(_bytes(value, node) for value in node.outputs if value.name)
    if node.op_type in PARTIAL:
        return 2 * written
    return written + sum(_bytes(value, node) for value in node.inputs if value is not None)


def _bytes(value: ir.Value, node: ir.Node) -> int:
    shape = shape_of(value)
    if shape is None or value.dtype is None:
        raise _unknown(node)
    return int(np.ceil(prod(shape) * value.dtype.itemsize))


def _is_parameter(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point() and bool(value.uses())


def _unknown(node: ir.Node) -> GraphError:
    sizes = [shape_of(value) for value in node.inputs if value is not None]
    return GraphError(
        f"the size of {label(node)} is unknown",
        expected="static shapes",
        got=f"{sizes} → {[shape_of(value) for value in node.outputs]}",
        where=f"the node {label(node)}",
        fix="export the model with static shapes",
    )
