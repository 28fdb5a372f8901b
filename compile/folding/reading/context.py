"""What reading a node needs: its input views, its constants and attributes, and why it is not linear where it is not."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compile.folding.linear.matrices import Array
from compile.folding.linear.moves import Shape
from compile.folding.linear.network import CHANNEL, POSITION, Network, View
from compile.graphs.nodes import constant, input_at, shape_of


class NotLinear(Exception):
    """The node is not a linear map of positions and channels; the message says why."""


def view_of(network: Network, tensor: ir.Value | None) -> View:
    """Return the view that a tensor is."""
    view = None if tensor is None else network.views.get(tensor)
    if view is None:
        raise NotLinear("what it reads is constant, or missing")
    return view


def known_shape(tensor: ir.Value | None) -> Shape:
    """Return a tensor's static shape."""
    shape = shape_of(tensor)
    if shape is None:
        raise NotLinear("the shape of its input is not known")
    return shape


def floats(tensor: ir.Value | None) -> Array | None:
    """Return a constant tensor in float64, None where it is not constant."""
    array = constant(tensor)
    return None if array is None else array.astype(np.float64)


def known(node: ir.Node, index: int) -> Array:
    """Return an input of a node as a constant."""
    array = floats(input_at(node, index))
    if array is None:
        raise NotLinear(f"its input {index} is not constant")
    return array


def integers(node: ir.Node, index: int | None, name: str, default: Sequence[int] | None = None) -> list[int]:
    """Return integers that are an input of a node or, where that is not given, an attribute."""
    if index is not None and input_at(node, index) is not None:
        array = constant(input_at(node, index))
        if array is None:
            raise NotLinear(f"its {name} are not constant")
        return [int(one) for one in array.reshape(-1)]
    attribute = node.attributes.get(name)
    if attribute is not None:
        return [int(one) for one in attribute.as_ints()]
    if default is None:
        raise NotLinear(f"it has no {name}")
    return list(default)


def moved(view: View | None) -> View:
    """Return the view that a move gave."""
    if view is None:
        raise NotLinear("it mixes positions and channels")
    return view


def stand_in(tensor: ir.Value, shape: Shape) -> ir.Value:
    """Return the tensor, or where a value has another shape than it, a stand-in with its name."""
    if shape_of(tensor) == shape:
        return tensor
    return ir.Value(name=tensor.name, shape=ir.Shape(shape), type=tensor.type)


def text(node: ir.Node, name: str, default: str) -> str:
    """Return a text attribute."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def floating(node: ir.Node, name: str, default: float) -> float:
    """Return a float attribute."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def per_channel(array: Array, shape: Shape, axes: str) -> Array:
    """Return a constant as one number per channel; it must not depend on the position."""
    wide = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    for axis, kind in enumerate(axes):
        if kind == POSITION and wide.shape[axis] != 1:
            first = wide.take([0], axis=axis)
            if not (wide == first).all():
                raise NotLinear("its constant depends on the position")
            wide = first
    full = tuple(size if kind == CHANNEL else 1 for size, kind in zip(shape, axes, strict=True))
    return np.broadcast_to(wide, full).reshape(-1)
