"""A graph as a network: each node becomes a view, a linear value, or a source where it is not linear.

Which axis of a tensor is the channel axis follows from the operator that made it or, where that does not say, from its
readers. A node whose input has another layout than it needs is taken as not linear: it stays as it is.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from compile.folding.linear.matrices import Index, select
from compile.folding.linear.network import CHANNEL, POSITION, Network, Term, View
from compile.folding.reading.context import NotLinear
from compile.folding.reading.dead_channels import ELEMENTWISE, known_channels, read_in_part
from compile.folding.reading.operators import OPERATORS, Operator
from compile.graphs.nodes import constant, input_at, integer, is_constant, is_standard, shape_of

CHANNELS_LAST = frozenset({"LayerNormalization", "RMSNormalization"})
CHANNELS_SECOND = frozenset(
    {
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "DepthToSpace",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "GroupNormalization",
        "InstanceNormalization",
        "LRN",
        "MaxPool",
        "Resize",
        "SpaceToDepth",
    }
)
# Linear by nature, and left as they are.
NOT_READ = frozenset(
    {
        "Cast",
        "Col2Im",
        "CumSum",
        "DFT",
        "DepthToSpace",
        "Dropout",
        "GatherElements",
        "GatherND",
        "GridSample",
        "ReverseSequence",
        "ScatterElements",
        "ScatterND",
        "SpaceToDepth",
        "Tile",
        "Trilu",
        "Upsample",
        "Where",
    }
)
LOOK_AHEAD = 6  # how many moves a tensor's readers are followed through


def read_network(graph: ir.Graph, needed: Mapping[ir.Node, Index] = MappingProxyType({})) -> Network:
    """Return the network of a graph whose nodes are in order; of some nodes only the ``needed`` channels are computed."""
    network = Network()
    for tensor in graph.inputs:
        if tensor.const_value is None:
            _source(network, tensor, None)
    for node in graph:
        if all(is_constant(output) for output in node.outputs):
            continue
        views = _linear(network, node)
        if views is None and node in needed:
            read_in_part(network, node, needed[node])
        elif views is None:
            _opaque(network, node)
        else:
            network.views.update(zip(node.outputs, views, strict=True))
    for tensor in graph.outputs:
        _read(network, tensor)
    return network


def _linear(network: Network, node: ir.Node) -> list[View] | None:
    """Read a node as a linear map of its inputs, a view for each output; None where it is none."""
    try:
        operator = _operator(node)
        if operator is None:
            return None
        answer = operator(network, node)
        views = [answer] if isinstance(answer, View) else list(answer)
        if [view.shape for view in views] != [shape_of(output) for output in node.outputs]:
            raise NotLinear("its shape in the graph is not the one that its operator gives")
    except NotLinear as reason:
        network.notes[str(node.outputs[0].name)] = f"{node.op_type}: {reason}"
        return None
    return views


def _operator(node: ir.Node) -> Operator | None:
    """Return how a node is read; None where its operator is not linear by nature.

    Raises:
        NotLinear: it may be, but cannot be read.
    """
    if not is_standard(node):
        raise NotLinear(f"an operator of the domain {node.domain} is not known")
    if node.op_type in NOT_READ:
        raise NotLinear("it is linear, but this operator is not read")
    operator = OPERATORS.get(node.op_type)
    if operator is not None and any(shape_of(output) is None for output in node.outputs):
        raise NotLinear("its shape is not known")
    if operator is not None and any(
        one.dtype is not None and not one.dtype.is_floating_point() for one in node.outputs
    ):
        raise NotLinear("it is of integers, and what is folded is float32")
    return operator


def _opaque(network: Network, node: ir.Node) -> None:
    """Keep a node as it is: what it reads must be there, and what it gives is a source."""
    network.opaque.append(node)
    for tensor in node.inputs:
        if tensor is not None:
            _read(network, tensor)
    if node.op_type == "LayerNormalization" and _split_norm(network, node):
        return
    for output in node.outputs:
        _source(network, output, node)
    known = known_channels(network, node)
    if known is not None:
        network.known[-1] = known


def _read(network: Network, tensor: ir.Value) -> None:
    """Note that a tensor must be there as it is."""
    if tensor in network.views:
        network.read(tensor)


def _source(network: Network, tensor: ir.Value, node: ir.Node | None) -> View:
    shape = shape_of(tensor)
    if shape is None:  # nothing linear can be read of it
        shape = ()
    return network.source(tensor, shape, _axes(network, tensor, node, len(shape)))


def _split_norm(network: Network, node: ir.Node) -> bool:
    """Read a norm over the last axis as a source, which has no gain and no shift, and the value that applies them."""
    shape, gain = shape_of(node.outputs[0]), constant(input_at(node, 1))
    shift = np.zeros(1) if input_at(node, 2) is None else constant(input_at(node, 2))
    axis = integer(node, "axis", -1)
    if shape is None or gain is None or shift is None or axis not in (-1, len(shape) - 1) or len(node.outputs) > 1:
        return False
    axes = POSITION * (len(shape) - 1) + CHANNEL
    core = ir.Value(name=f"{node.outputs[0].name}/core", shape=node.outputs[0].shape, type=node.outputs[0].type)
    view = network.source(core, shape, axes)
    size = shape[-1]
    term = Term(view.value, view.move, None, select(np.arange(size), size, gain.astype(np.float64)))
    network.linear(node.outputs[0], shape, axes, (term,), np.broadcast_to(shift.astype(np.float64), (size,)).copy())
    network.cores[node] = view.value
    return True


def _axes(network: Network, tensor: ir.Value, node: ir.Node | None, rank: int) -> str:
    """Return the kinds of a source's axes."""
    if node is not None and is_standard(node):
        if node.op_type in CHANNELS_LAST:
            return _one_channel(rank, rank - 1)
        if node.op_type in CHANNELS_SECOND:
            return _one_channel(rank, 1)
        first = input_at(node, 0)
        if node.op_type in ELEMENTWISE and first in network.views:
            return network.views[first].axes
        if node.op_type in ("Add", "Mul", "Sub", "Div", "Where"):
            for one in node.inputs:
                if one in network.views and len(network.views[one].axes) == rank:
                    return network.views[one].axes
    return _one_channel(rank, _wanted(tensor, rank))


def _one_channel(rank: int, axis: int) -> str:
    return "".join(CHANNEL if one == axis else POSITION for one in range(rank))


def _wanted(tensor: ir.Value, rank: int) -> int:
    """Return the axis that the first reader which says so takes as channels; the last one where none does."""
    waiting = [(tensor, tuple(range(rank)))]
    for _ in range(LOOK_AHEAD):
        following = []
        for value, origin in waiting:
            for reader, index in value.uses():
                if index == 0 and reader.op_type in CHANNELS_SECOND and len(origin) > 1:
                    return origin[1]
                if (
                    reader.op_type in ("MatMul", "Gemm", *CHANNELS_LAST)
                    and index == 0
                    and is_constant(input_at(reader, 1))
                ):
                    return origin[-1]
                if reader.op_type == "Transpose" and (perm := reader.attributes.get("perm")) is not None:
                    following.append((reader.outputs[0], tuple(origin[axis] for axis in perm.as_ints())))
                elif reader.op_type in {*ELEMENTWISE, "Add", "Mul"} and shape_of(reader.outputs[0]) == shape_of(value):
                    following.append((reader.outputs[0], origin))
        waiting = following
    return rank - 1
