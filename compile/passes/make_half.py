"""A float32 graph becomes strongly typed FP16, except where FP16 overflows or only the answer is written.

    before   y = op(x, w)                         all float32
    after    y₁₆ = op(x₁₆, w₁₆)                   x₁₆ = Cast(x) where x was float32, w₁₆ = w rounded once
             y₃₂ = op(Cast(x₁₆), w)               for the operators in ``FLOAT32``, before the first and after the last
                                                  weighted operator; graph outputs stay float32

``emulate_half`` writes what that computes as a float32 graph: each value that FP16 holds is rounded by an explicit pair
Cast(→ FP16), Cast(→ float32), which a runtime must honour, while an FP16 kernel on a CPU computes in float32 inside.
LayerNormalization and Softmax stay in float32: their sums overflow (facts: a decomposed LayerNorm cost a peer 5 AP).
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from bundle.errors import GraphError
from compile.float_nodes import end_nodes
from compile.passes.base import add_constant, constant

FLOAT32 = frozenset({"Cast", "LayerNormalization", "Pow", "ReduceMean", "ReduceSum", "Softmax", "Sqrt"})
SHAPE_INPUTS = {"Resize": (1, 2)}  # inputs that are float32 by the standard, whatever the data's type
LARGEST = float(np.finfo(np.float16).max)


def make_half(model: ir.Model) -> tuple[ir.Model, bool]:
    """Type the graph FP16 with explicit casts.

    Raises:
        GraphError: a weight does not fit into FP16.
    """
    return _Rewrite(model, emulate=False).run()


def emulate_half(model: ir.Model) -> tuple[ir.Model, bool]:
    """Round every value that ``make_half`` would hold in FP16, in a graph that stays float32.

    Raises:
        GraphError: a weight does not fit into FP16.
    """
    return _Rewrite(model, emulate=True).run()


class _Rewrite:
    """One run over a graph: what was cast already is cast once."""

    def __init__(self, model: ir.Model, *, emulate: bool) -> None:
        self.model = model
        self.graph = model.graph
        self.emulate = emulate
        self.ends = end_nodes(model.graph)
        self.half: set[ir.Value] = set()
        self.casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self.weights: dict[ir.Value, ir.Value] = {}

    def run(self) -> tuple[ir.Model, bool]:
        """Rewrite every node in order."""
        if any(value.dtype == ir.DataType.FLOAT16 for node in self.graph for value in node.outputs):
            return self.model, False
        for node in list(self.graph):
            if node.op_type in FLOAT32 or node.name in self.ends:
                self._keep(node)
            else:
                self._make_half(node)
        for index, output in enumerate(self.graph.outputs):
            if output in self.half and not self.emulate:
                self._widen_output(index, output)
        return self.model, bool(self.half)

    def _keep(self, node: ir.Node) -> None:
        for place, value in enumerate(node.inputs):
            if value in self.half and not self.emulate:
                node.replace_input_with(place, self._cast(value, ir.DataType.FLOAT, before=node))

    def _make_half(self, node: ir.Node) -> None:
        floats = [value for value in node.outputs if value.dtype == ir.DataType.FLOAT]
        if not floats:
            self._keep(node)
            return
        for place, value in enumerate(node.inputs):
            if value is None or value.dtype != ir.DataType.FLOAT or place in SHAPE_INPUTS.get(node.op_type, ()):
                continue
            if constant(value) is not None:
                node.replace_input_with(place, self._weight(value))
            elif value not in self.half:
                node.replace_input_with(place, self._narrow(value, before=node))
        for value in floats:
            self._type_output(node, value)

    def _type_output(self, node: ir.Node, value: ir.Value) -> None:
        if not self.emulate:
            value.dtype = ir.DataType.FLOAT16
            self.half.add(value)
            return
        users = list(value.uses())
        rounded = self._pair(value, after=node)
        for user, place in users:
            user.replace_input_with(place, rounded)
        self.half.update((value, rounded))
        for index, output in enumerate(self.graph.outputs):
            if output is value:
                self._rename_output(index, value, rounded)

    def _weight(self, value: ir.Value) -> ir.Value:
        if value not in self.weights:
            array = constant(value)
            if array is None or not np.abs(array.astype(np.float64)).max(initial=0.0) <= LARGEST:
                raise GraphError(
                    "a weight does not fit into FP16", expected=f"magnitudes up to {LARGEST:g}", got=str(value.name),
                    where="make_half", fix="leave the f16 variant out for this model",
                )  # fmt: skip
            narrow = array.astype(np.float16)
            kept = narrow.astype(np.float32) if self.emulate else narrow
            self.weights[value] = add_constant(self.model, f"{value.name}/f16", kept)
        return self.weights[value]

    def _narrow(self, value: ir.Value, *, before: ir.Node) -> ir.Value:
        if not self.emulate:
            return self._cast(value, ir.DataType.FLOAT16, before=before)
        wide = self._cast(self._cast(value, ir.DataType.FLOAT16, before=before), ir.DataType.FLOAT, before=before)
        return wide

    def _cast(self, value: ir.Value, dtype: ir.DataType, *, before: ir.Node) -> ir.Value:
        key = (value, dtype)
        if key not in self.casts:
            node = _cast_node(value, dtype)
            self.graph.insert_before(before, node)
            self.casts[key] = node.outputs[0]
        return self.casts[key]

    def _pair(self, value: ir.Value, *, after: ir.Node) -> ir.Value:
        narrow = _cast_node(value, ir.DataType.FLOAT16)
        wide = _cast_node(narrow.outputs[0], ir.DataType.FLOAT)
        self.graph.insert_after(after, [narrow, wide])
        return wide.outputs[0]

    def _widen_output(self, index: int, output: ir.Value) -> None:
        node = _cast_node(output, ir.DataType.FLOAT)
        self.graph.append(node)
        self._rename_output(index, output, node.outputs[0])

    def _rename_output(self, index: int, old: ir.Value, new: ir.Value) -> None:
        old.name, new.name = f"{old.name}/half", old.name
        self.graph.outputs[index] = new


def _cast_node(value: ir.Value, dtype: ir.DataType) -> ir.Node:
    name = f"{value.name}/to_{dtype.name.lower()}"
    attributes: Sequence[ir.Attr] = [ir.AttrInt64("to", dtype.value)]
    output = ir.Value(name=name, type=ir.TensorType(dtype), shape=value.shape)
    return ir.Node("", "Cast", [value], attributes, outputs=[output], name=name)
