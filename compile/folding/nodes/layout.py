"""Tensors of a value: its positions' axes with all channels last, or with all channels second, and the way between."""

from collections.abc import Sequence
from math import prod
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import onnx_ir as ir

from compile.folding.linear.matrices import Array, Index
from compile.folding.linear.moves import Shape, Step
from compile.folding.linear.network import CHANNEL, POSITION
from compile.folding.nodes.builder import Builder, static_shape

IN_PLACE = frozenset({"gather", "mean", "pad", "slice", "sum"})  # moves that need no channels last
Layout: TypeAlias = Literal["last", "second"]


class Laid(NamedTuple):
    """A tensor of a value: the shape of its positions, how many channels, and where they lie."""

    tensor: ir.Value
    grid: Shape
    channels: int
    layout: Layout

    def position(self, axis: int) -> int:
        """Return which of the tensor's axes a position axis is."""
        return axis if self.layout == "last" or axis == 0 else axis + 1

    @property
    def axis(self) -> int:
        """The channel axis."""
        return len(self.grid) if self.layout == "last" else 1


def shape_of(grid: Shape, channels: int, layout: Layout) -> Shape:
    """Return the shape of a tensor with these positions and channels."""
    return (*grid, channels) if layout == "last" else (*grid[:1], channels, *grid[1:])


def preferred(axes: str) -> Layout:
    """Return the layout that is nearest to how a tensor's axes lie."""
    return "second" if axes.count(CHANNEL) == 1 and axes[1:2] == CHANNEL and len(axes) > 2 else "last"


class Layouts:
    """Changes of layout and moves of positions, as nodes."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder

    def turn(self, laid: Laid, layout: Layout, name: str) -> Laid:
        """Return the tensor with its channels elsewhere."""
        if laid.layout == layout:
            return laid
        rank = len(laid.grid) + 1
        perm = (0, *range(2, rank), 1) if layout == "last" else (0, rank - 1, *range(1, rank - 1))
        shape = shape_of(laid.grid, laid.channels, layout)
        origin = laid.tensor.producer()
        if origin is not None and origin.op_type == "Transpose" and shape == static_shape(origin.inputs[0]):
            undone = tuple(origin.attributes["perm"].as_ints())
            if tuple(undone[axis] for axis in perm) == tuple(range(rank)) and origin.inputs[0] is not None:
                return Laid(origin.inputs[0], laid.grid, laid.channels, layout)
        turned = self.builder.node("Transpose", [laid.tensor], shape, name, perm=perm)
        return Laid(turned, laid.grid, laid.channels, layout)

    def from_axes(self, tensor: ir.Value, axes: str, grid: Shape, channels: Shape, name: str) -> Laid:
        """Return a tensor whose axes are positions and channels in any order as one that has its channels last or second."""
        layout = preferred(axes)
        if layout == "last" and axes != POSITION * len(grid) + CHANNEL * len(channels):
            perm = [axis for kind in (POSITION, CHANNEL) for axis, one in enumerate(axes) if one == kind]
            tensor = self.builder.node("Transpose", [tensor], (*grid, *channels), name, perm=perm)
        if layout == "last":
            tensor = self.builder.reshape(tensor, (*grid, prod(channels)), name)
        return Laid(tensor, grid, prod(channels), layout)

    def to_axes(self, laid: Laid, axes: str, grid: Shape, channels: Shape, name: str) -> ir.Value:
        """Return a tensor as one whose axes are positions and channels in this order."""
        if laid.layout == preferred(axes) == "second" and laid.grid == grid:
            return laid.tensor
        last = self.turn(laid, "last", name)
        tensor = self.builder.reshape(last.tensor, (*grid, *channels), name)
        order = [axis for kind in (POSITION, CHANNEL) for axis, one in enumerate(axes) if one == kind]
        perm = [order.index(axis) for axis in range(len(axes))]
        if perm == sorted(perm):
            return tensor
        shape = tuple((*grid, *channels)[axis] for axis in perm)
        return self.builder.node("Transpose", [tensor], shape, name, perm=perm)

    def move(self, laid: Laid, steps: Sequence[Step], name: str) -> Laid:
        """Return the tensor with its positions moved step by step."""
        for step, after in zip(steps, (*steps[1:], None), strict=True) if steps else ():
            if step.name == "resize":
                laid = self._resize(laid, step, name)
            elif step.name in ("mean", "sum") and after is not None and after.shape == _without(step):
                laid = self._reduce(self.turn(laid, "last", name), step, name)
            elif laid.grid != step.shape or step.name != "reshape":
                laid = self._step(laid if step.name in IN_PLACE else self.turn(laid, "last", name), step, name)
        return laid

    def _reduce(self, laid: Laid, step: Step, name: str) -> Laid:
        """Return a mean or sum that drops the axes it is over."""
        shape = _without(step)
        axes = self.builder.integers(step.numbers, "axes")
        operator = "ReduceMean" if step.name == "mean" else "ReduceSum"
        tensor = self.builder.node(operator, [laid.tensor, axes], (*shape, laid.channels), name, keepdims=0)
        return Laid(tensor, shape, laid.channels, "last")

    def _step(self, laid: Laid, step: Step, name: str) -> Laid:
        shape = shape_of(step.shape, laid.channels, laid.layout)
        return Laid(self._moved(laid, step, shape, name), step.shape, laid.channels, laid.layout)

    def _moved(self, laid: Laid, step: Step, shape: Shape, name: str) -> ir.Value:
        node, integers, numbers = self.builder.node, self.builder.integers, step.numbers
        tensor = laid.tensor
        match step.name:
            case "reshape":
                return self.builder.reshape(tensor, shape, name)
            case "transpose":
                return node("Transpose", [tensor], shape, name, perm=(*numbers, len(numbers)))
            case "slice":
                axis, start, stop, stride = numbers
                bounds = [integers([one], "bound") for one in (start, stop, laid.position(axis), stride)]
                return node("Slice", [tensor, *bounds], shape, name)
            case "gather":
                return node(
                    "Gather", [tensor, integers(numbers[1:], "places")], shape, name, axis=laid.position(numbers[0])
                )
            case "expand":
                return node("Expand", [tensor, integers(shape, "shape")], shape, name)
            case "mean" | "sum":
                axes = integers([laid.position(axis) for axis in numbers], "axes")
                operator = "ReduceMean" if step.name == "mean" else "ReduceSum"
                return node(operator, [tensor, axes], shape, name, keepdims=1)
            case "pad":
                begins, ends = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
                pads = [size for part in (begins, ends) for size in shape_of(part, 0, laid.layout)]
                return node("Pad", [tensor, integers(pads, "pads")], shape, name)
            case "join":
                tensors = [self.turn(self.move(laid, part, name), "last", name).tensor for part in step.parts]
                return node("Concat", tensors, shape, name, axis=numbers[0])
            case other:
                raise AssertionError(f"no operator computes {other}")

    def _resize(self, laid: Laid, step: Step, name: str) -> Laid:
        mode, coordinates, rounding = step.kinds
        turned = self.turn(laid, "second", name)
        shape = shape_of(step.shape, laid.channels, "second")
        sizes = self.builder.integers(shape, "sizes")
        resized = self.builder.node(
            "Resize",
            [turned.tensor, None, None, sizes],
            shape,
            name,
            mode=mode,
            coordinate_transformation_mode=coordinates,
            nearest_mode=rounding,
        )
        return Laid(resized, step.shape, laid.channels, "second")

    def select(self, laid: Laid, index: Index, name: str) -> Laid:
        """Return the channels in ``index``, one after the other."""
        if np.array_equal(index, np.arange(laid.channels)):
            return laid
        shape = shape_of(laid.grid, index.size, laid.layout)
        start, stop = int(index[0]), int(index[-1]) + 1
        if np.array_equal(index, np.arange(start, stop)):
            bounds = [self.builder.integers([one], "bound") for one in (start, stop, laid.axis)]
            tensor = self.builder.node("Slice", [laid.tensor, *bounds], shape, name)
        else:
            places = self.builder.constant(index.astype(np.int64), f"{name}/channels")
            tensor = self.builder.node("Gather", [laid.tensor, places], shape, name, axis=laid.axis)
        return Laid(tensor, laid.grid, index.size, laid.layout)


def per_channel(array: Array, grid: Shape, layout: Layout) -> Array:
    """Return a vector over channels in the shape that broadcasts over positions."""
    return array if layout == "last" else array.reshape((-1,) + (1,) * (len(grid) - 1))


def _without(step: Step) -> Shape:
    """Return the shape that a mean or sum leaves without the axes it is over."""
    return tuple(size for axis, size in enumerate(step.shape) if axis not in step.numbers)
