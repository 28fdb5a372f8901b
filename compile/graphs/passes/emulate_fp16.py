"""A strongly typed graph becomes a float32 graph that computes the same, so that a host can run what a device would.

    before   y₁₆ = op(x₁₆, w₁₆)
    after    y = Cast(Cast(op(x, w), → FP16), → float32)        w = Cast(w₁₆, → float32)

ONNX Runtime computes FP16 in float32 inside and rounds where it likes; an explicit pair of casts it must honour. Each
operator's result is rounded once (to nearest, even; beyond 65,504 it is inf); its inner sums are float32, as a tensor
core's are. ``EXACT`` operators only move values that are rounded already, so they need no pair. The weights stay FP16
initializers, so the graph can share them with the typed one's file.
"""

from collections.abc import Sequence

import onnx_ir as ir

from bundle.base.errors import GraphError
from compile.graphs.nodes import names_of
from compile.graphs.passes.convert_to_fp16 import cast_node

MOVERS = (
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Pad",
    "Reshape",
    "Slice",
    "Split",
    "Where",
)
EXACT = frozenset({*MOVERS, "Max", "MaxPool", "Min", "Neg", "Relu", "Squeeze", "Transpose", "Unsqueeze"})
NARROWERS = frozenset({"Cast", "Constant", "ConstantOfShape"})  # what they write is FP16 whatever they read
FP16, FLOAT = ir.DataType.FLOAT16, ir.DataType.FLOAT


def emulate_fp16(model: ir.Model) -> tuple[ir.Model, bool]:
    """Write a typed graph in float32 with every FP16 value rounded by a pair of casts.

    Raises:
        GraphError: an input or output of the graph is FP16.
    """
    graph = model.graph
    typed = [value.name for value in (*graph.inputs, *graph.outputs) if value.dtype == FP16]
    if typed:
        raise GraphError(
            "an FP16 input or output cannot be emulated",
            expected="float32 at the graph's ends",
            got=str(typed),
            where="emulate_fp16",
            fix="keep inputs and outputs in float32, as convert_to_fp16 does",
        )
    nodes, taken = list(graph), names_of(graph)
    constants = [value for value in graph.initializers.values() if value.dtype == FP16]
    rounded = [(node, value) for node in nodes for value in node.outputs if value.dtype == FP16]
    for value in constants:
        _widen(graph, value, taken, before=nodes[0])
    for node, value in rounded:
        if node.op_type in NARROWERS:
            _widen(graph, value, taken, before=None)
        else:
            value.dtype = FLOAT
            if node.op_type not in EXACT:
                _round(graph, value, taken)
    for node in nodes:
        _drop_idle(graph, node)
    return model, bool(constants or rounded)


def _widen(graph: ir.Graph, value: ir.Value, taken: set[str | None], *, before: ir.Node | None) -> None:
    """Give the readers of an FP16 value its float32 copy."""
    users, node = list(value.uses()), cast_node(value, FLOAT, taken)
    producer = value.producer()
    if before is not None:
        graph.insert_before(before, node)
    elif producer is not None:
        graph.insert_after(producer, node)
    _redirect(users, node.outputs[0])


def _round(graph: ir.Graph, value: ir.Value, taken: set[str | None]) -> None:
    """Give the readers of a float32 value the FP16 number nearest to it, written as float32."""
    users, producer = list(value.uses()), value.producer()
    narrow = cast_node(value, FP16, taken)
    wide = cast_node(narrow.outputs[0], FLOAT, taken)
    if producer is not None:
        graph.insert_after(producer, [narrow, wide])
    _redirect(users, wide.outputs[0])


def _drop_idle(graph: ir.Graph, node: ir.Node) -> None:
    """Take out a Cast from float32 to float32: what was widened there is wide already."""
    source = node.inputs[0] if node.op_type == "Cast" else None
    if source is None or source.dtype != FLOAT or node.outputs[0].dtype != FLOAT or node.outputs[0].is_graph_output():
        return
    _redirect(list(node.outputs[0].uses()), source)
    graph.remove(node, safe=True)


def _redirect(users: Sequence[tuple[ir.Node, int]], value: ir.Value) -> None:
    for node, index in users:
        node.replace_input_with(index, value)
