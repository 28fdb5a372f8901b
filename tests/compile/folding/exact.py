"""Graphs computed in float64 by ONNX's own reference, and in float32 by ONNX Runtime."""

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

Arrays: TypeAlias = Mapping[str, NDArray[np.generic]]
NARROW, WIDE = ir.DataType.FLOAT, ir.DataType.DOUBLE
SMALLEST = (
    1.0  # inputs and weights are near 1: the error of a smaller output is absolute, for it may be nothing but rounding
)


def widen(model: ir.Model) -> ir.Model:
    """Return a copy in which every float32 is a float64: inputs, constants, casts and all that is computed.

    The scales of a Resize stay: ONNX allows no other type.
    """
    wide = ir.from_proto(ir.to_proto(model))
    for value in wide.graph.initializers.values():
        if value.dtype == NARROW and value.const_value is not None and not _is_scales(value):
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float64), name=value.name)
    for value in (*wide.graph.inputs, *wide.graph.initializers.values()):
        _widen_type(value)
    for node in wide.graph:
        for name, attribute in list(node.attributes.items()):
            node.attributes[name] = _widened(attribute)
        for value in node.outputs:
            _widen_type(value)
    return wide


def _is_scales(value: ir.Value) -> bool:
    return any(node.op_type == "Resize" and place == 2 for node, place in value.uses())


def _widen_type(value: ir.Value) -> None:
    if value.dtype == NARROW and not _is_scales(value):
        value.dtype = WIDE


def _widened(attribute: ir.Attr) -> ir.Attr:
    """Return an attribute with a float32 tensor, or a cast's float32 type, as float64."""
    if attribute.name == "to" and attribute.as_int() == NARROW:
        return ir.AttrInt64("to", WIDE)
    if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == NARROW:
        return ir.AttrTensor(attribute.name, ir.tensor(attribute.as_tensor().numpy().astype(np.float64)))
    return attribute


def checked(model: ir.Model) -> onnx.ModelProto:
    """Return a model as a file holds it, after ONNX's own check of it."""
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run_exactly(model: ir.Model, feeds: Arrays) -> dict[str, NDArray[np.float64]]:
    """Compute a widened model's outputs by ONNX's reference."""
    found = ReferenceEvaluator(checked(model)).run(
        None, {name: array.astype(np.float64) for name, array in feeds.items()}
    )
    outputs = {str(value.name): array for value, array in zip(model.graph.outputs, found, strict=True)}
    assert all(array.dtype == np.float64 for array in outputs.values())
    return outputs


def run_float32(model: ir.Model, feeds: Arrays) -> dict[str, NDArray[np.float32]]:
    """Compute a model's outputs by ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(checked(model).SerializeToString(), options)
    found = session.run(None, {name: array.astype(np.float32) for name, array in feeds.items()})
    return {str(value.name): array for value, array in zip(model.graph.outputs, found, strict=True)}


def error(got: Arrays, want: Arrays) -> float:
    """Return the largest max |a − b| / max |b| of any output."""
    assert got.keys() == want.keys()
    return max(
        float(np.abs(got[name] - array).max() / max(np.abs(array).max(), SMALLEST)) for name, array in want.items()
    )
