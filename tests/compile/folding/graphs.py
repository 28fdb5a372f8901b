"""What random networks are written with: a graph that grows node by node, each value with what its axes are."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

OPSET = 20
SHARED, TIED, PART = (
    0.25,
    0.1,
    0.05,
)  # how often a constant is another one, another one scaled or transposed, partly zero


class Item(NamedTuple):
    """A value and one letter for each of its axes: n of size 1, t tasks, p windows, h w l places, k groups, c channels."""

    value: ir.Value
    axes: str

    @property
    def shape(self) -> tuple[int, ...]:
        assert self.value.shape is not None
        return tuple(int(str(size)) for size in self.value.shape)

    def size(self, axis: str) -> int:
        """The size of one axis; 1 where there is none."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def places(self) -> list[int]:
        """The axes of positions."""
        return [index for index, axis in enumerate(self.axes) if axis in "hwlp"]

    def like(self, other: "Item") -> bool:
        """Whether both have the same axes and sizes."""
        return self.axes == other.axes and self.shape == other.shape


class Builder:
    """A graph, and the random numbers that decide what it becomes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name="random")
        self.items: list[Item] = []
        self.count = 0

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def add_input(self, axes: str, shape: Sequence[int]) -> Item:
        value = ir.Value(name=self._name("x"), type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
        self.graph.inputs.append(value)
        return Item(value, axes)

    def node(
        self,
        operator: str,
        inputs: Sequence[Item | ir.Value | None],
        axes: str,
        shape: Sequence[int],
        **attributes: int | float | str | Sequence[int],
    ) -> Item:
        """Add a node with one output."""
        return self.nodes(operator, inputs, axes, [shape], **attributes)[0]

    def nodes(
        self,
        operator: str,
        inputs: Sequence[Item | ir.Value | None],
        axes: str,
        shapes: Sequence[Sequence[int]],
        **attributes: int | float | str | Sequence[int],
    ) -> list[Item]:
        """Add a node with an output for each shape."""
        name = self._name(operator)
        outputs = [
            ir.Value(name=f"{name}:{place}", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
            for place, shape in enumerate(shapes)
        ]
        read = [one.value if isinstance(one, Item) else one for one in inputs]
        self.graph.append(ir.node(operator, read, attributes, outputs=outputs, name=name))
        return [Item(value, axes) for value in outputs]

    def matrix(self, *shape: int) -> ir.Value:
        """A random constant over the channels that its last axis but one or its last sums over; shared or tied to another at times."""
        same = [value for value in self.graph.initializers.values() if self._shape(value) == shape]
        turned = (*shape[:-2], *reversed(shape[-2:]))
        other = [value for value in self.graph.initializers.values() if self._shape(value) == turned]
        if same and self.chance(SHARED):
            return same[self.pick(0, len(same) - 1)]
        if other and len(shape) > 1 and self.chance(TIED):
            perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
            return self.node("Transpose", [other[self.pick(0, len(other) - 1)]], "", shape, perm=perm).value
        array = self.rng.normal(size=shape) / max(np.prod(shape[1:]), 1) ** 0.5
        if same and self.chance(TIED):
            found = same[self.pick(0, len(same) - 1)].const_value
            assert found is not None
            array = self.rng.normal() * found.numpy()
        if self.chance(PART):
            array[..., self.pick(0, shape[-1] - 1)] = 0
        return self.constant(array)

    def vector(self, item: Item) -> ir.Value:
        """A random constant for each channel of ``item``, of as many axes as broadcasting needs, or of all."""
        place = item.axes.index("c")
        after = len(item.axes) - 1 - place
        before = place if self.chance(0.3) else 0
        array = self.rng.normal(size=item.size("c"))
        if self.chance(PART):
            array[:] = 1
        return self.constant(array.reshape((1,) * before + (-1,) + (1,) * after))

    def constants(self) -> list[tuple[int, ...]]:
        """The shapes of the float constants so far."""
        return [self._shape(value) for value in self.graph.initializers.values()]

    def constant(self, array: NDArray[np.generic] | float) -> ir.Value:
        """A float32 constant: an initializer, or sometimes a node."""
        tensor = ir.tensor(np.asarray(array, np.float32), name=self._name("c"))
        if self.chance(PART):
            made = self.node("Constant", [], "", tensor.shape.numpy(), value=tensor)  # type: ignore[arg-type]
            made.value.const_value = tensor
            return made.value
        return self._register(tensor)

    def scales(self, *numbers: float) -> ir.Value:
        """The scales of a Resize."""
        return self._register(ir.tensor(np.array(numbers, np.float32), name=self._name("s")))

    def integers(self, *numbers: int) -> ir.Value:
        return self._register(ir.tensor(np.array(numbers, np.int64), name=self._name("i")))

    def model(self) -> ir.Model:
        """The graph as a model, without the constants of steps that did not fit."""
        found = ir.Model(self.graph, ir_version=10)
        RemoveUnusedNodesPass()(found)
        return found

    def _register(self, tensor: ir.TensorProtocol) -> ir.Value:
        value = ir.Value(
            name=tensor.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape), const_value=tensor
        )
        self.graph.register_initializer(value)
        return value

    def _name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}_{self.count}"

    @staticmethod
    def _shape(value: ir.Value) -> tuple[int, ...]:
        assert value.shape is not None
        return tuple(int(str(size)) for size in value.shape) if value.dtype == ir.DataType.FLOAT else ()
