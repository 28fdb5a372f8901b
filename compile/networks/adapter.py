"""The adapter around a network: ONNX operators that bring its input and its outputs into the form of this project.

    image    float32 [1, 3, H, W], RGB, normalised → the network's order of colours
    output   float or integers, [1, C, h, w], [1, h, w, C] or [1, h, w] → float32 [1, C, H, W], resized where h, w are others

and then, by the form of the output (compile/networks/description.py), with x for a value:

    logits            x
    labels            1 in the channel of the class x, else 0: the largest channel is the class again
    probability       log x − log(1 − x), of which the sigmoid is x again
    vector            x, which is divided by its length later
    distance          unit · x
    inverse_distance  unit / max(x, unit/farthest)
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import onnx_ir as ir
import onnx_ir.tape

from bundle.base.errors import GraphError
from compile.graphs.nodes import shape_of
from compile.networks.description import OutputDescription

NCHW = (0, 3, 1, 2)
BGR = (2, 1, 0)
NEAR_ONE = (
    1e-6  # a probability is kept so far from 0 and 1, for both have no logarithm; p(1 − p) below it is none in uint8
)

Convert: TypeAlias = Callable[["Adapter", ir.Value, OutputDescription], ir.Value]


class Adapter:
    """Operators that are added one by one, each named after ``prefix``."""

    def __init__(self, prefix: str) -> None:
        self._prefix, self._tape = prefix, onnx_ir.tape.Tape()

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """What was added, in order."""
        return tuple(self._tape.nodes)

    def add(self, operator: str, *inputs: ir.Value | None, **attributes: int | str | tuple[int, ...]) -> ir.Value:
        """Add an operator and return what it gives."""
        return self._named(self._tape.op(operator, inputs, attributes))

    def constant(self, array: np.ndarray) -> ir.Value:
        """Add a constant."""
        return self._named(self._tape.op("Constant", [], {"value": ir.tensor(array)}))

    def _named(self, value: ir.Value) -> ir.Value:
        node = self.nodes[-1]
        node.name = value.name = f"{self._prefix}/{node.op_type}_{len(self.nodes)}"
        return value


def reversed_colours(adapter: Adapter, image: ir.Value) -> ir.Value:
    """Return an RGB image ``[1, 3, H, W]`` as BGR."""
    return adapter.add("Gather", image, adapter.constant(np.array(BGR, np.int64)), axis=1)


def answer(adapter: Adapter, output: ir.Value, given: OutputDescription, size: tuple[int, int]) -> ir.Value:
    """Return an output of static shape as the raw output of its task, float32 ``[1, C, H, W]``; its shape is set.

    Raises:
        GraphError: it is no map of one image.
    """
    shape = _map_shape(output, given)
    value = output if output.dtype == ir.DataType.FLOAT else adapter.add("Cast", output, to=int(ir.DataType.FLOAT))
    if output.shape is not None and len(output.shape) == len(shape) - 1:
        value = adapter.add("Unsqueeze", value, adapter.constant(np.array([1], np.int64)))
    elif given.layout == "nhwc":
        value = adapter.add("Transpose", value, perm=NCHW)
    if shape[2:] != size:
        value = _resized(adapter, value, given, (*shape[:2], *size))
    value = FORMS[given.form](adapter, value, given)
    value.shape = ir.Shape((1, len(given.classes) if given.form == "labels" else shape[1], *size))
    value.type = ir.TensorType(ir.DataType.FLOAT)
    return value


def _map_shape(output: ir.Value, given: OutputDescription) -> tuple[int, ...]:
    """Return the shape of an output as batch, channels, height, width."""
    shape = (shape_of(output) or ()) if isinstance(output.type, ir.TensorType) else ()
    if len(shape) == 4 and shape[0] == 1 and 0 not in shape:
        return tuple(shape[axis] for axis in NCHW) if given.layout == "nhwc" else shape
    if len(shape) == 3 and shape[0] == 1 and 0 not in shape:
        return (1, 1, *shape[1:])
    raise GraphError(
        f"the output {given.output!r} is no map of one image",
        expected="[1, channels, height, width], [1, height, width, channels] or [1, height, width]",
        got=f"{output.type} {output.shape}",
        where=f"the output {given.output!r} of the network",
        fix="name it under unused in tasks.toml if no task needs it, or export the network with maps",
    )


def _resized(adapter: Adapter, value: ir.Value, given: OutputDescription, shape: tuple[int, ...]) -> ir.Value:
    sizes = adapter.constant(np.array(shape, np.int64))
    if given.resize == "nearest" or given.form == "labels":
        return adapter.add(
            "Resize",
            value,
            None,
            None,
            sizes,
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )
    return adapter.add("Resize", value, None, None, sizes, mode="linear", coordinate_transformation_mode="half_pixel")


def _as_it_is(adapter: Adapter, value: ir.Value, given: OutputDescription) -> ir.Value:
    return adapter.add("Identity", value)


def _one_hot(adapter: Adapter, value: ir.Value, given: OutputDescription) -> ir.Value:
    classes = adapter.constant(np.arange(len(given.classes), dtype=np.float32).reshape(1, -1, 1, 1))
    return adapter.add("Cast", adapter.add("Equal", value, classes), to=int(ir.DataType.FLOAT))


def _log_odds(adapter: Adapter, value: ir.Value, given: OutputDescription) -> ir.Value:
    least, most = (adapter.constant(np.array(end, np.float32)) for end in (NEAR_ONE, 1 - NEAR_ONE))
    inside = adapter.add("Clip", value, least, most)
    other = adapter.add("Sub", adapter.constant(np.array(1, np.float32)), inside)
    return adapter.add("Sub", adapter.add("Log", inside), adapter.add("Log", other))


def _metres(adapter: Adapter, value: ir.Value, given: OutputDescription) -> ir.Value:
    return adapter.add("Mul", value, adapter.constant(np.array(given.unit_m, np.float32)))


def _inverse(adapter: Adapter, value: ir.Value, given: OutputDescription) -> ir.Value:
    least = adapter.constant(np.array(given.unit_m / given.farthest_m, np.float32))
    return adapter.add("Div", adapter.constant(np.array(given.unit_m, np.float32)), adapter.add("Max", value, least))


FORMS: dict[str, Convert] = {
    "logits": _as_it_is,
    "labels": _one_hot,
    "probability": _log_odds,
    "vector": _as_it_is,
    "distance": _metres,
    "inverse_distance": _inverse,
}
