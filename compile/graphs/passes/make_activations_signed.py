"""uint8 activations with zero-point 0 become int8, which is the only integer type TensorRT quantizes to.

    before   q = clamp(round(x / s), 0, 255)         x̂ = s·q        range 0 … 255·s
    after    q = clamp(round(x / s'), −128, 127)     x̂ = s'·q       range −128·s' … 127·s',   s' = s · 255/127

127·s' = 255·s, so nothing that was representable is clipped; the step grows by 255/127, so the rounding error of a
non-negative x is at most s'/2 instead of s/2. A parser that merely reads the uint8 as int8 clips at 127·s, half the
range, silently.

uint8 also cuts off below 0, and some quantizers leave a Relu to it. So where x is not known to be non-negative
(``non_negative``), a Relu is put before the quantization: the same cut, made where it can be seen.
"""

import numpy as np
import onnx_ir as ir

from compile.graphs.match import NoMatch, matches
from compile.graphs.nodes import Array, constant, free_name, input_at, is_standard, label, nodes_of
from compile.graphs.quantizers import (
    COMMUTING,
    DEQUANTIZE,
    QUANTIZE,
    dequantizers,
    quantizer_of,
    scale_and_zero,
    set_parameters,
    zero_point,
)

NON_NEGATIVE = frozenset({"Abs", "Exp", "HardSigmoid", "Relu", "Sigmoid", "Softmax", "Softplus", "Sqrt"})
OF_ALL = frozenset({"Add", "Concat", "Mul", "Sum"})  # not below 0 where none of their inputs is
OF_FIRST = (COMMUTING - OF_ALL) | {
    "AveragePool",
    "Cast",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "ReduceMax",
    "ReduceMean",
}


def make_activations_signed(model: ir.Model) -> tuple[ir.Model, bool]:
    """Rewrite every Q node that matches, together with its DQ nodes."""
    modified = False
    for node, (scale, readers) in matches(match, nodes_of(model, QUANTIZE)):
        signed = (scale.astype(np.float64) * (255.0 / 127.0)).astype(scale.dtype)
        if not non_negative(node.inputs[0]):
            _clamp(model, node)
        set_parameters(model, node, readers, signed, np.zeros(scale.shape, np.int8))
        node.outputs[0].dtype = ir.DataType.INT8
        modified = True
    return model, modified


def match(node: ir.Node) -> tuple[Array, tuple[ir.Node, ...]]:
    """Return the scale of a Q node that quantizes to uint8, and its DQ nodes.

    Raises:
        NoMatch: it is another one, or cannot be rewritten.
    """
    scale, zero = scale_and_zero(node)
    if zero.dtype != np.uint8:
        raise NoMatch(f"it quantizes to {zero.dtype}")
    if zero.any():
        raise NoMatch("its zero-point is not 0: an asymmetric range has no signed form with the same scale")
    return scale, dequantizers(node)


def non_negative(value: ir.Value | None) -> bool:
    """Say whether a value is known not to be below 0: made so, or moved, joined or averaged from what was."""
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        current = waiting.pop()
        if current is None:
            return False
        if current in seen:
            continue
        seen.add(current)
        sources = _sources(current)
        if sources is None:
            return False
        waiting += sources
    return True


def _sources(value: ir.Value) -> list[ir.Value | None] | None:
    """Return what must not be below 0 for a value not to be: nothing where it never is; None where nothing is known."""
    array, node = constant(value), value.producer()
    if array is not None:
        return None if np.less(array, 0).any() else []
    if node is None or not is_standard(node):
        return None
    if node.op_type in NON_NEGATIVE or (node.op_type == "Clip" and _at_least_0(node)):
        return []
    if node.op_type in OF_ALL:
        return list(node.inputs)
    if node.op_type in OF_FIRST or (node.op_type == "Resize" and not _cubic(node)):
        return list(node.inputs[:1])
    return _dequantized(node) if node.op_type == DEQUANTIZE else None


def _at_least_0(clip: ir.Node) -> bool:
    low = constant(input_at(clip, 1))
    return low is not None and not np.less(low, 0).any()


def _cubic(resize: ir.Node) -> bool:
    mode = resize.attributes.get("mode")
    return mode is not None and (mode.is_ref() or mode.as_string() == "cubic")


def _dequantized(node: ir.Node) -> list[ir.Value | None] | None:
    quantize = quantizer_of(node)
    zero = None if quantize is None else zero_point(quantize)
    if quantize is None or zero is None or zero.any():
        return None
    return [] if zero.dtype == np.uint8 else [quantize.inputs[0]]


def _clamp(model: ir.Model, node: ir.Node) -> None:
    value, name = node.inputs[0], free_name(model.graph, f"{label(node)}/clamp")
    assert value is not None
    output = ir.Value(name=name, type=value.type, shape=value.shape)
    model.graph.insert_before(node, ir.Node("", "Relu", [value], outputs=[output], name=name))
    node.replace_input_with(0, output)
