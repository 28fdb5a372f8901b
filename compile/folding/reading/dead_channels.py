"""Channels that need not be computed: no node reads them, or they are the same for every image.

    before   y = f(x),  x of n channels,  y read by W
    after    y_i = f(x_i) for the channels i that some reader needs; W and what makes x lose the others

f acts on every element alone. A channel x_i = c of which no product depends on the image is f(c), a constant: a skill whose
down-projection is zero. One that every reader multiplies by zero is not needed: a skill whose up-projection, or gate, is zero.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compile.folding.linear.matrices import Array, Index, Matrix, select
from compile.folding.linear.moves import Shape
from compile.folding.linear.network import CHANNEL, Network, Term, View
from compile.graphs.nodes import constant, is_standard
from compile.graphs.pytorch.evaluate import evaluate

Mask = NDArray[np.bool_]

# Of these every element depends on the same element of the input only, so the axes keep their kinds; of Softmax on a whole axis.
ELEMENTWISE = frozenset(
    {
        "Abs",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Log",
        "Mish",
        "PRelu",
        "Pow",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softmax",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Tanh",
        "ThresholdedRelu",
    }
)
OPSET, IR_VERSION = 20, 10
CHANNELWISE = (ELEMENTWISE | {"Div", "Mul"}) - {"Softmax"}


def needed_channels(network: Network, outputs: Sequence[ir.Value]) -> dict[ir.Node, Index]:
    """Return the channels that have to be computed of every node that acts element by element, where these are not all."""
    nodes = {output: node for node in network.opaque for output in node.outputs}
    needed = [np.zeros(value.channels, bool) for value in network.values]
    for view in _always(network, outputs):
        needed[view.value][view.channels] = True
    found: dict[ir.Node, Index] = {}
    for value in reversed(network.values):
        for term in value.terms:
            _need(network, term, needed[value.uid], needed)
        node = nodes.get(value.tensor) if value.is_source else None
        if node is not None and is_channelwise(network, node):
            mask = needed[value.uid] & np.isnan(network.known[value.uid])
            for view in _views(network, node):
                needed[view.value][view.channels.reshape(-1)[mask]] = True
            if not mask.all():
                found[node] = np.flatnonzero(mask)
    return found


def _always(network: Network, outputs: Sequence[ir.Value]) -> Iterator[View]:
    """Yield what is needed as a whole: the graph's outputs, and what a node reads that does not act element by element."""
    for node in network.opaque:
        if not is_channelwise(network, node):
            yield from _views(network, node)
    yield from (network.views[one] for one in outputs if one in network.views)


def _need(network: Network, term: Term, rows: Mask, needed: list[Mask]) -> None:
    """Note what some rows of a value need of a term's source, and of its factor."""
    _, undecided = network.undecided(term)
    columns = _columns(term.matrix, rows) & undecided
    needed[term.source] |= columns
    if term.factor is not None:
        channels = term.factor.channels[columns]
        needed[term.factor.value][channels[channels >= 0]] = True


def _columns(matrix: Matrix, rows: Mask) -> Mask:
    """Return which columns of a matrix some of the rows read."""
    found = np.zeros(matrix.columns, bool)
    if matrix.selection is not None:
        found[matrix.selection.index[rows & (matrix.selection.index >= 0) & (matrix.selection.scale != 0)]] = True
    elif isinstance(matrix.entries, np.ndarray):
        found = np.asarray(matrix.entries[rows].any(0))
    else:
        found[matrix.entries[np.flatnonzero(rows)].indices] = True
    return found


def is_channelwise(network: Network, node: ir.Node) -> bool:
    """Say whether each channel of a node's output depends on the same channel of what it reads only."""
    views = _views(network, node)
    if not views or not is_standard(node) or node.op_type not in CHANNELWISE or len(node.outputs) > 1:
        return False
    others = [constant(one) for one in node.inputs if one is not None and one not in network.views]
    output = network.views.get(node.outputs[0], views[0])
    alike = all((view.shape, view.axes) == (output.shape, output.axes) for view in views)
    return alike and CHANNEL in output.axes and all(array is not None and array.size == 1 for array in others)


def _views(network: Network, node: ir.Node) -> list[View]:
    return [network.views[one] for one in node.inputs if one is not None and one in network.views]


def known_channels(network: Network, node: ir.Node) -> Array | None:
    """Compute what the channels of a node's output are for every image, NaN where the image decides; None if it decides all."""
    views = _views(network, node)
    if len(node.inputs) != 1 or not is_channelwise(network, node):
        return None
    read = network.known[views[0].value][views[0].channels.reshape(-1)]
    if np.isnan(read).all():
        return None
    tensor = ir.Value(name="x", shape=ir.Shape(read.shape), type=ir.TensorType(ir.DataType.DOUBLE))
    copy = ir.Node("", node.op_type, [tensor], list(node.attributes.values()))
    copy.outputs[0].name = "y"
    graph = ir.Graph([tensor], copy.outputs, nodes=[copy], opset_imports={"": OPSET})
    return evaluate(ir.Model(graph, ir_version=IR_VERSION), {"x": read})["y"].astype(np.float64)


def read_in_part(network: Network, node: ir.Node, needed: Index) -> View:
    """Compute the needed channels of a node that acts element by element; the others are what is known of them, or 0."""
    output, view, known = node.outputs[0], _views(network, node)[0], known_channels(network, node)
    bias = np.zeros(view.channels.size) if known is None else np.nan_to_num(known)
    bias[needed] = 0.0
    if not needed.size:
        return network.linear(output, view.shape, view.axes, (), bias)
    inner = view.axes.index(CHANNEL)
    axes = "".join(kind for axis, kind in enumerate(view.axes) if kind != CHANNEL or axis == inner)
    sizes = [size for size, kind in zip(view.shape, view.axes, strict=True) if kind != CHANNEL]
    shape = (*sizes[:inner], needed.size, *sizes[inner:])
    inputs = [_part(network, one, needed, shape, axes) for one in node.inputs]
    made = ir.Value(name=f"{output.name}/needed", shape=ir.Shape(shape), type=output.type)
    copy = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), outputs=[made], name=node.name)
    network.opaque.append(copy)
    source = network.source(made, shape, axes)
    rows = np.full(view.channels.size, -1, np.int64)
    rows[needed] = np.arange(needed.size)
    term = Term(source.value, source.move, None, select(rows, needed.size))
    return network.linear(output, view.shape, view.axes, (term,), bias)


def _part(network: Network, tensor: ir.Value | None, needed: Index, shape: Shape, axes: str) -> ir.Value | None:
    """Return the needed channels of an input as a tensor that is read, one for all that need the same; a constant as it is."""
    if tensor is None or (tensor, needed.tobytes()) in network.parts:
        return None if tensor is None else network.parts[tensor, needed.tobytes()]
    part = ir.Value(name=tensor.name, type=tensor.type, shape=tensor.shape, const_value=tensor.const_value)
    view = network.views.get(tensor)
    if view is not None:
        part.shape = ir.Shape(shape)
        size = network.values[view.value].channels
        term = Term(view.value, view.move, None, select(view.channels.reshape(-1)[needed], size))
        network.linear(part, shape, axes, (term,), np.zeros(needed.size))
        network.read(part)
    network.parts[tensor, needed.tobytes()] = part
    return part
