"""A float32 graph becomes strongly typed FP16, except where FP16 is too narrow or only the answer is written.

    before   y = op(x, w)                         all float32
    after    y₁₆ = op(x₁₆, w₁₆)                   x₁₆ = Cast(x) where x was float32, w₁₆ = w rounded once
             y₃₂ = op(Cast(x₁₆), w)               for the operators in ``FLOAT32``, before the first and after the last
                                                  weighted operator, and where a range says so; outputs stay float32

Normalizations, Softmax and what sums powers stay in float32: their sums overflow (a decomposed LayerNorm cost a peer 5 AP),
and no range shows it, because they are inside of one operator.

A float32 convolution, times one number, cast to FP16: the builder fails inside (1.7 for RTX, measured). The number becomes
one for each channel, which it takes.

Q and DQ. A Q with its DQs is float16 or float32 as one, scales included: strong typing wants a scale of its data's type.
TensorRT's builder (1.7 for RTX, measured) also wants both operands of one product to be scaled in one type. So where a
scale would be off by more than ``SCALE_ERROR`` in FP16 (it is subnormal there), the product that reads it stays in
float32. The product's other operand stays with it, and so on until nothing changes; operators in between that only move
elements are of the product's type. Q's data is cast to FP16 even behind a float32 LayerNormalization: its values are
small, and it is INT8 that they become.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from compile.graphs.end_nodes import end_nodes
from compile.graphs.nodes import WEIGHTED, Array, constant, names_of, register, shape_of, unused
from compile.graphs.quantizers import COMMUTING, DEQUANTIZE, QUANTIZE, SEVERAL_DATA, dequantizers_behind

TYPED_BY_ATTRIBUTE = frozenset({"Cast", "Constant", "ConstantOfShape", "EyeLike"})  # their inputs say nothing about it
FLOAT32 = TYPED_BY_ATTRIBUTE | {
    "GlobalLpPool",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LogSoftmax",
    "LpNormalization",
    "LpPool",
    "MeanVarianceNormalization",
    "Pow",
    "RMSNormalization",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMean",
    "ReduceSum",
    "ReduceSumSquare",
    "Softmax",
    "Sqrt",
}
SHAPE_INPUTS = {"Resize": (1, 2)}  # inputs that are float32 by the standard, whatever the data's type
LARGEST = float(np.finfo(np.float16).max)
SMALLEST = float(np.finfo(np.float16).smallest_normal)
SCALE_ERROR = 2.0**-9  # four times the rounding of a normal FP16 number; measured: INT8 weights are off by 2⁻⁸ and more
NOTHING: Mapping[str, str] = MappingProxyType({})


def convert_to_fp16(model: ir.Model, keep: Mapping[str, str] = NOTHING) -> tuple[ir.Model, bool]:
    """Type the graph FP16 with explicit casts; nodes named in ``keep``, with the reason, stay in float32."""
    if any(value.dtype == ir.DataType.FLOAT16 for node in model.graph for value in node.outputs):
        return model, False
    return _Rewrite(model, float32_nodes(model.graph, keep)).run()


def float32_nodes(graph: ir.Graph, keep: Mapping[str, str]) -> dict[ir.Node, str]:
    """Return the nodes that ``convert_to_fp16`` leaves in float32, each with its reason."""
    pairs = {QUANTIZE, DEQUANTIZE}  # they follow what they feed, wherever they stand
    ends = {node: reason for node, reason in end_nodes(graph).items() if node.op_type not in pairs}
    found: dict[ir.Node, str] = {}
    for node in graph:
        reason = keep.get(str(node.name), "") or ends.get(node, "") or _too_narrow(node)
        if node.op_type in FLOAT32:
            found[node] = f"{node.op_type} is computed in float32"
        elif reason:
            found[node] = reason
    paths = {node: [path for path in map(_path, node.inputs) if path] for node in graph if not _moves(node)}
    for node, around in paths.items():
        for path in around:
            if any(_loss(other) > SCALE_ERROR for other in path):  # then the node was found, too
                found |= {other: found[node] for other in path if other not in found}
    while _spread(graph, found, paths):
        pass
    return found


def _spread(graph: ir.Graph, found: dict[ir.Node, str], paths: Mapping[ir.Node, Sequence[Sequence[ir.Node]]]) -> bool:
    """Add the Q, DQ and products that must be float32 because what they share a scale with is; say if there were any."""
    before = len(found)
    for node in graph:
        tied: list[ir.Node | None] = []
        reason = found.get(node, "")
        if node.op_type == QUANTIZE and reason:
            tied = [*_readers(node)]
        elif node.op_type == DEQUANTIZE:
            readers = _readers(node)
            if not reason and readers and all(reader in found for reader in readers):
                reason = f"its reader {readers[0].name} is computed in float32"
            tied = [node, None if node.inputs[0] is None else node.inputs[0].producer()] if reason else []
        for path in paths.get(node, ()) if node.op_type in WEIGHTED else ():
            if reason or any(other in found and other.op_type == DEQUANTIZE for other in path):
                reason = reason or next(found[other] for other in path if other in found)
                tied += [node, *path]
        found |= {other: reason for other in tied if other is not None and other not in found}
    return len(found) > before


def _path(value: ir.Value | None) -> tuple[ir.Node, ...]:
    """Return the DQ nodes a value comes from and the operators in between; none if any part of it is float."""
    waiting, found = [value] if dequantizers_behind(value) else [], list[ir.Node]()
    while waiting:
        current = waiting.pop()
        node = None if current is None else current.producer()
        if node is None or node in found:
            continue
        found.append(node)
        if node.op_type != DEQUANTIZE:
            waiting += node.inputs if node.op_type in SEVERAL_DATA else node.inputs[:1]
    return tuple(found)


def _moves(node: ir.Node) -> bool:
    """Say whether a node only moves what DQ nodes give, so that it is typed like what reads it."""
    return node.op_type in COMMUTING and bool(dequantizers_behind(node.outputs[0]))


def _readers(node: ir.Node) -> list[ir.Node]:
    return [reader for reader, _ in node.outputs[0].uses()]


def _too_narrow(node: ir.Node) -> str:
    """Say which constant of a node, or scale of a DQ that feeds it, does not survive FP16; "" if all do."""
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if array is None or value is None or index in SHAPE_INPUTS.get(node.op_type, ()):
            loss = 0.0 if _moves(node) else max(map(_loss, dequantizers_behind(value)), default=0.0)
            if loss > SCALE_ERROR:
                return f"the scale of {value.name if value else ''} is too small for FP16: off by {loss:.1%}"
        elif value.dtype == ir.DataType.FLOAT and node.op_type not in (QUANTIZE, DEQUANTIZE):
            peak = float(np.abs(array.astype(np.float64)).max(initial=0.0))
            if not (peak == 0 or SMALLEST <= peak <= LARGEST):
                return f"constant {value.name} reaches {peak:.3g}, FP16 holds {SMALLEST:.3g} to {LARGEST:g}"
    return ""


def _loss(node: ir.Node) -> float:
    """Return the largest relative error in FP16 of a DQ node's constant scales; 0 of any other node."""
    scale = constant(node.inputs[1]) if node.op_type == DEQUANTIZE else None
    if scale is None:
        return 0.0
    exact = scale.astype(np.float64)
    with np.errstate(over="ignore"):
        return float((np.abs(scale.astype(np.float16).astype(np.float64) - exact) / exact).max())


class _Rewrite:
    """One run over a graph: what was cast already is cast once."""

    def __init__(self, model: ir.Model, float32: dict[ir.Node, str]) -> None:
        self.model = model
        self.graph = model.graph
        self.float32 = float32
        self.typed: set[ir.Value] = set()
        self.casts: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self.constants: dict[ir.Value, ir.Value] = {}
        self.taken = names_of(self.graph)

    def run(self) -> tuple[ir.Model, bool]:
        """Rewrite every node in order."""
        for node in list(self.graph):
            typed = node.op_type == QUANTIZE or any(value.dtype == ir.DataType.FLOAT for value in node.outputs)
            if node in self.float32 or not typed:
                self._keep(node)
            else:
                self._convert(node)
        for index, output in enumerate(self.graph.outputs):
            if output in self.typed:
                self._widen_output(index, output)
        return self.model, bool(self.typed)

    def _keep(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if value in self.typed:
                node.replace_input_with(index, self._cast(value, ir.DataType.FLOAT, before=node))

    def _convert(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if value is None or value.dtype != ir.DataType.FLOAT or index in SHAPE_INPUTS.get(node.op_type, ()):
                continue
            array = constant(value)
            if array is not None:
                node.replace_input_with(index, self._constant(value, array))
            elif value not in self.typed:
                node.replace_input_with(index, self._cast(value, ir.DataType.FLOAT16, before=node))
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT:
                value.dtype = ir.DataType.FLOAT16
                self.typed.add(value)

    def _constant(self, value: ir.Value, array: Array) -> ir.Value:
        if value not in self.constants:
            name = unused(f"{value.name}/f16", self.taken)
            self.taken.add(name)
            self.constants[value] = register(self.model, name, array.astype(np.float16))
        return self.constants[value]

    def _cast(self, value: ir.Value, dtype: ir.DataType, *, before: ir.Node) -> ir.Value:
        key = (value, dtype)
        if key not in self.casts:
            maker = value.producer()
            if dtype == ir.DataType.FLOAT16 and maker is not None and maker.op_type in ("Div", "Mul"):
                self._factor_by_channel(maker)
            node = cast_node(value, dtype, self.taken)
            self.graph.insert_before(before, node)
            self.casts[key] = node.outputs[0]
        return self.casts[key]

    def _factor_by_channel(self, node: ir.Node) -> None:
        """Give a float32 Mul or Div of a convolution's result by one number as many numbers as there are channels."""
        for index, (value, other) in enumerate(zip(node.inputs, reversed(node.inputs), strict=True)):
            array, shape = constant(value), shape_of(other)
            maker = None if other is None else other.producer()
            if value is None or array is None or array.size != 1 or shape is None:
                continue
            if maker is not None and maker.op_type in ("Conv", "ConvTranspose"):
                name = unused(f"{value.name}/by_channel", self.taken)
                self.taken.add(name)
                lengths = (shape[1], *(1 for _ in shape[2:]))
                node.replace_input_with(index, register(self.model, name, np.full(lengths, array.reshape(()))))

    def _widen_output(self, index: int, output: ir.Value) -> None:
        node = cast_node(output, ir.DataType.FLOAT, self.taken)
        self.graph.append(node)
        new = node.outputs[0]
        output.name, new.name = unused(f"{output.name}/half", self.taken), output.name
        self.graph.outputs[index] = new


def cast_node(value: ir.Value, dtype: ir.DataType, taken: set[str | None]) -> ir.Node:
    """Return a Cast of ``value``, named after it, that is in no graph yet; its name, none of ``taken``, is added there."""
    name = unused(f"{value.name}/to_{dtype.name.lower()}", taken)
    taken.add(name)
    output = ir.Value(name=name, type=ir.TensorType(dtype), shape=value.shape)
    return ir.Node("", "Cast", [value], [ir.AttrInt64("to", dtype.value)], outputs=[output], name=name)
