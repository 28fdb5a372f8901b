"""The layers of a quantized graph: what can go back to float by itself, what that costs, and the graph where it did.

A layer is one weighted operator. Others may read the same quantizers: they keep them, and this one reads around them,
through copies of the operators in between that only move elements.

    before   y = op(move(DQ(Q(x))), DQ(w₈)) + b'     b' the bias that NNCF corrected for this layer's quantization
    after    y = op(move(x), w) + b                   w and b those of the float graph
"""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from bundle.base.errors import GraphError
from bundle.base.frozen import Frozen
from compile.graphs.cost import macs_by_node, read_inferred
from compile.graphs.nodes import WEIGHTED, add_constant, constant, names_of
from compile.graphs.quantizers import DEQUANTIZE, QUANTIZE

MOVES = frozenset(
    {
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Pad",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators that move elements or mix neighbours: a quantizer before one serves the operator after it."""


class Layer(Frozen):
    """A weighted operator that is quantized: its ONNX node's name, and its multiply-accumulates per image."""

    name: str
    macs: int


def read_macs(graph_path: Path) -> dict[str, int]:
    """Return the multiply-accumulates of each weighted operator of a float ONNX graph, by node name.

    Raises:
        GraphError: a weighted operator's shape is unknown.
    """
    macs = macs_by_node(read_inferred(graph_path))
    return {str(node.name): count for node, count in macs.items() if node.op_type in WEIGHTED}


def layers_of(model: ir.Model, macs: dict[str, int]) -> tuple[Layer, ...]:
    """Return the layers of a Q/DQ graph in the order of its nodes; ``macs`` by node name.

    An operator with one operand in float multiplies in float: it is none, and its other operand's pair may serve the plan.
    """
    names = [str(node.name) for node in weighted(model) if all(_dequantizers(value) for value in node.inputs[:2])]
    return tuple(Layer(name=name, macs=macs[name]) for name in names)


def weighted(model: ir.Model) -> Iterator[ir.Node]:
    """Yield the convolutions and matrix products of the main graph."""
    yield from (node for node in model.graph if node.op_type in WEIGHTED and node.domain == "")


def dequantize_layers(model: ir.Model, original: ir.Model, names: Collection[str]) -> int:
    """Take the quantizers of the named operators out of ``model``, in place; return how many operators changed.

    Raises:
        GraphError: a name is in neither graph, or the float graph has no such weight.
    """
    by_name = {str(node.name): node for node in original.graph}
    wanted, taken, changed = set(names), names_of(model.graph), 0
    for node in [node for node in weighted(model) if node.name in wanted]:
        source = by_name.get(str(node.name))
        if source is None:
            raise _unknown(str(node.name))
        copies: dict[ir.Node, ir.Node] = {}
        for index, value in enumerate(node.inputs[:2]):
            if value is not None:
                node.replace_input_with(index, _around(model, value, node, copies))
        _restore_constants(model, node, source, taken)
        _restore_bias(model, node, source, taken)
        wanted.discard(str(node.name))
        changed += 1
    if wanted:
        raise _unknown(sorted(wanted)[0])
    RemoveUnusedNodesPass()(model)
    return changed


def _dequantizers(value: ir.Value | None) -> list[ir.Node]:
    """Return the DQ nodes that a value comes from through operators that only move elements."""
    node = None if value is None else value.producer()
    if node is None:
        return []
    if node.op_type == DEQUANTIZE:
        return [node]
    return [found for source in _moved(node) for found in _dequantizers(source)]


def _moved(node: ir.Node) -> list[ir.Value | None]:
    """Return the inputs whose elements an operator moves: all of a Concat's, the first of another's, none of the rest."""
    if node.op_type not in MOVES:
        return []
    return list(node.inputs if node.op_type == "Concat" else node.inputs[:1])


def _around(model: ir.Model, value: ir.Value, reader: ir.Node, copies: dict[ir.Node, ir.Node]) -> ir.Value:
    """Return what a value would be without the Q/DQ pairs it comes through; ``copies`` of what moves it go before ``reader``."""
    node = value.producer()
    if node is None or not _dequantizers(value):
        return value
    if node.op_type == DEQUANTIZE:
        quantizer = node.inputs[0].producer() if node.inputs[0] is not None else None
        source = quantizer.inputs[0] if quantizer is not None and quantizer.op_type == QUANTIZE else None
        return value if source is None else source
    if node not in copies:
        around = [None if one is None else _around(model, one, reader, copies) for one in _moved(node)]
        copies[node] = _copy(node, [*around, *list(node.inputs)[len(around) :]], f"for/{reader.name}")
        model.graph.insert_before(reader, copies[node])
    return copies[node].outputs[list(node.outputs).index(value)]


def _copy(node: ir.Node, inputs: list[ir.Value | None], suffix: str) -> ir.Node:
    name = f"{node.name}/{suffix}"
    outputs = [
        ir.Value(name=f"{name}/{index}", type=one.type, shape=one.shape) for index, one in enumerate(node.outputs)
    ]
    return ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), outputs=outputs, name=name)


def _restore_constants(model: ir.Model, node: ir.Node, source: ir.Node, taken: set[str | None]) -> None:
    """Give an operator the weights of the float graph where it has quantized ones."""
    for index, value in enumerate(source.inputs):
        array = constant(value)
        if array is not None and value is not None:
            node.replace_input_with(index, add_constant(model, f"{value.name}/float", array, taken))


def _restore_bias(model: ir.Model, node: ir.Node, source: ir.Node, taken: set[str | None]) -> None:
    """Give the Add behind a matrix product the bias of the float graph: NNCF shifted it to correct the quantized one."""
    for (adder, index), (original, _) in zip(_bias(node), _bias(source), strict=False):
        array = next((constant(value) for value in original.inputs if constant(value) is not None), None)
        if array is not None and adder.op_type == original.op_type:
            old = constant(adder.inputs[index])
            if old is not None and not np.array_equal(old, array):
                adder.replace_input_with(index, add_constant(model, f"{adder.name}/bias", array, taken))


def _bias(node: ir.Node) -> list[tuple[ir.Node, int]]:
    """Return the Add that alone reads an operator's output, and the index of its constant."""
    uses = list(node.outputs[0].uses())
    if len(uses) != 1 or uses[0][0].op_type != "Add":
        return []
    adder = uses[0][0]
    return [(adder, index) for index, value in enumerate(adder.inputs) if constant(value) is not None]


def _unknown(name: str) -> GraphError:
    return GraphError(
        f"there is no weighted operator {name!r}",
        expected="a node both graphs have",
        got=name,
        where="the layers to return to float",
        fix="name nodes of the graph that was quantized",
    )
