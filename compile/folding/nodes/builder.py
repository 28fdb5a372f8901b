"""A new graph, node by node: equal nodes are one node, equal constants one constant, and every value has its shape."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compile.folding.linear.moves import Shape

Constant: TypeAlias = NDArray[np.generic]
Attribute: TypeAlias = "int | float | str | Sequence[int]"


class Builder:
    """Collects the nodes and initializers of a graph whose floats are of one type."""

    def __init__(self, kind: ir.DataType) -> None:
        self.kind = kind
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []
        self._names: set[str] = set()
        self._alike: dict[tuple[object, ...], ir.Value] = {}
        self._constants: dict[tuple[object, ...], ir.Value] = {}

    def unused(self, name: str) -> str:
        """Return the name, or with the first number that nothing has yet; it is taken from now on."""
        found, number = name, 0
        while found in self._names:
            number += 1
            found = f"{name}_{number}"
        self._names.add(found)
        return found

    def constant(self, array: Constant, name: str) -> ir.Value:
        """Return the initializer that holds the array."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            tensor = ir.tensor(np.array(array, order="C"), name=self.unused(name))
            value = ir.Value(
                name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(array.shape), const_value=tensor
            )
            self._constants[key] = value
            self.initializers.append(value)
        return self._constants[key]

    def integers(self, values: Sequence[int], name: str) -> ir.Value:
        """Return an int64 vector."""
        return self.constant(np.asarray(values, np.int64), f"{name}/{'x'.join(str(one) for one in values[:6])}")

    def node(
        self, operator: str, inputs: Sequence[ir.Value | None], shape: Shape, name: str, **attributes: Attribute
    ) -> ir.Value:
        """Return the output of a node, of the node that is there already where one is alike."""
        key = (
            operator,
            tuple(id(one) for one in inputs),
            tuple(sorted((one, _hashable(value)) for one, value in attributes.items())),
        )
        if key not in self._alike:
            [output] = self.nodes_of(operator, inputs, [shape], f"{name}/{operator}", attributes)
            self._alike[key] = output
        return self._alike[key]

    def reshape(self, tensor: ir.Value, shape: Shape, name: str) -> ir.Value:
        """Return a tensor in another shape; what was reshaped only to be reshaped again is reshaped once."""
        if static_shape(tensor) == shape:
            return tensor
        tensor = self.unshaped(tensor)
        if static_shape(tensor) == shape:
            return tensor
        return self.node("Reshape", [tensor, self.integers(shape, "shape")], shape, name, allowzero=1)

    def unshaped(self, tensor: ir.Value) -> ir.Value:
        """Return the tensor that was reshaped to this one, if it was."""
        origin = tensor.producer()
        while (
            origin is not None and origin.op_type == "Reshape" and origin.domain == "" and origin.inputs[0] is not None
        ):
            tensor = origin.inputs[0]
            origin = tensor.producer()
        return tensor

    def nodes_of(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        shapes: Sequence[Shape],
        name: str,
        attributes: dict[str, Attribute],
    ) -> list[ir.Value]:
        """Add a node and return its outputs."""
        found = [ir.convenience.convert_attribute(key, value) for key, value in attributes.items()]
        node = ir.Node("", operator, list(inputs), found, num_outputs=len(shapes), name=self.unused(name))
        for number, (output, shape) in enumerate(zip(node.outputs, shapes, strict=True)):
            output.name = str(node.name) if number == 0 else self.unused(f"{node.name}:{number}")
            output.type, output.shape = ir.TensorType(self.kind), ir.Shape(shape)
        self.nodes.append(node)
        return list(node.outputs)

    def copy(self, node: ir.Node, inputs: Sequence[ir.Value | None]) -> list[ir.Value]:
        """Add a node like another one, on other inputs; return its outputs, which keep their names where these are free."""
        copied = ir.Node(
            node.domain,
            node.op_type,
            list(inputs),
            list(node.attributes.values()),
            num_outputs=len(node.outputs),
            name=node.name,
            metadata_props=dict(node.metadata_props),
            overload=node.overload,
        )
        for old, new in zip(node.outputs, copied.outputs, strict=True):
            new.name, new.type, new.shape = self.unused(str(old.name)), old.type, old.shape
        self.nodes.append(copied)
        return list(copied.outputs)


def _hashable(value: Attribute) -> object:
    return value if isinstance(value, int | float | str) else tuple(value)


def static_shape(value: ir.Value | None) -> Shape:
    """Return the shape of a tensor of a new graph."""
    return () if value is None or value.shape is None else tuple(int(str(size)) for size in value.shape)
