"""Make an initializer of what is the same for every image: computed from constants, or through weights that are zero.

A gate whose weights are zero is softmax(bias), one that pools a norm without gain is softmax(V·shift + bias); a mean that was put
in a gate's place makes constants of all that follows it. The initializers are float64, as evaluated: nothing is rounded yet.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compile.folding.linear.network import POSITION, Network
from compile.folding.reading.reader import read_network
from compile.folding.reading.scales import with_early_scales
from compile.graphs.nodes import add_constant, constant, is_constant
from compile.graphs.pytorch.convert import values_of
from compile.graphs.pytorch.evaluate import evaluate
from compile.stage.graph_info import Array


class Settled(NamedTuple):
    """A model in which nothing but constants is constant, and its network."""

    model: ir.Model
    network: Network


def settle(model: ir.Model) -> Settled:
    """Return the model with what is constant as initializers, a copy where there is any; the model given is left as it is."""
    if any(node.op_type == "Constant" for node in model.graph):
        model = ir.from_proto(ir.to_proto(model))  # to read such a constant gives its tensor a name
    model = with_early_scales(model)
    while True:
        if names := sorted(_computed(model.graph)):
            model = replace(model, evaluate(model, {}, names))
        network = read_network(model.graph)
        if not (known := dict(_known(model.graph, network))):
            return Settled(model, network)
        model = replace(model, known)


def replace(model: ir.Model, constants: Mapping[str, Array]) -> ir.Model:
    """Return a copy in which values are initializers instead of computed, and what only they needed is gone."""
    model = model.clone()
    values = values_of(model.graph)
    for name, array in constants.items():
        new = add_constant(model, f"{name}/constant", array)
        for node, index in tuple(values[name].uses()):
            node.replace_input_with(index, new)
    return RemoveUnusedNodesPass()(model).model


def _computed(graph: ir.Graph) -> set[str]:
    """Return what is computed from constants in a way that the reader does not see through, and read by what is not."""
    return {
        str(value.name)
        for node in graph
        if not all(is_constant(output) for output in node.outputs)
        for value in node.inputs
        if value is not None and is_constant(value) and constant(value) is None
    }


def _known(graph: ir.Graph, network: Network) -> Iterator[tuple[str, Array]]:
    """Yield what a node reads that the image does not decide, where it decides what the node gives."""
    for node in graph:
        if all(_array(network, output) is not None for output in node.outputs):
            continue
        for tensor in node.inputs:
            if tensor is not None and tensor.producer() is not None and (array := _array(network, tensor)) is not None:
                yield str(tensor.name), array


def _array(network: Network, tensor: ir.Value) -> Array | None:
    """Return the tensor that a view is for every image, None where the image decides any of it."""
    view = network.views.get(tensor)
    known = None if view is None else network.known[view.value][view.channels]
    if view is None or known is None or np.isnan(known).any():
        return None
    wide = known.reshape([1 if kind == POSITION else size for size, kind in zip(view.shape, view.axes, strict=True)])
    return np.broadcast_to(wide, view.shape).copy()
