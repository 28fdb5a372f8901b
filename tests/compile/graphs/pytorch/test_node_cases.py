"""Every operator against ONNX's own test vectors, which the ``onnx`` package makes: as they are, and in float64."""

import warnings

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase as NodeCase
from onnx.numpy_helper import to_array

from bundle.base.errors import GraphError
from compile.graphs.pytorch.constants import AS_WRITTEN, IN_FLOAT64, Types
from compile.graphs.pytorch.convert import to_module
from compile.graphs.pytorch.table import OPERATORS, find_operator

# What is in a case's name, and why it is refused or computed otherwise.
REFUSED = {
    "training_mode": "a norm in training",
    "training_dropout": "a dropout in training",
    "maxpool_with_argmax": "the places of a pooling's maxima",
    "max_empty_set": "the greatest of nothing",
    "min_empty_set": "the least of nothing",
}
OTHERWISE = {
    "resize_downsample_scales_linear_align_corners": "a length of 2.4; ONNX Runtime takes 2, and test_runtime.py follows it",
    "resize_downsample_scales_cubic_align_corners": "the same",
}
ROUNDED = (
    "test_averagepool_2d_ceil_last_window_starts_on_pad",
    "test_gridsample_bicubic",
)  # their vectors have four digits


@pytest.fixture(scope="module")
def cases() -> list[NodeCase]:
    """The cases whose operators and types are all claimed; bodies of functions are left to the operators in them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the vectors are made with overflows and divisions by zero
        found = collect_testcases(None)
    return [case for case in found if case.kind == "node" and claimed(case) and "_expanded" not in case.name]


def claimed(case: NodeCase) -> bool:
    graph, types = case.model.graph, {int(kind) for kind in AS_WRITTEN}
    typed = all(value.type.tensor_type.elem_type in types for value in (*graph.input, *graph.output))
    return typed and {node.op_type for node in graph.node} <= {"Constant", *OPERATORS}


def is_any(name: str, parts: dict[str, str]) -> bool:
    return any(part in name for part in parts)


def tensor(array: np.ndarray | TensorProto) -> torch.Tensor:
    values = to_array(array) if isinstance(array, TensorProto) else np.asarray(array)
    if values.dtype.name == "bfloat16":
        return torch.from_numpy(values.astype(np.float32)).bfloat16()
    return torch.from_numpy(np.array(values))


def results(case: NodeCase, inputs: list[np.ndarray], types: Types) -> tuple[torch.Tensor, ...]:
    """Run a case; the inputs that an operator wants as Python numbers are constants, as they are in real graphs."""
    model = ir.from_proto(case.model)
    graph, opset = model.graph, model.opset_imports[""]
    feeds = {}
    for value, array in zip(list(graph.inputs), inputs, strict=True):
        found = tensor(array)
        uses = value.uses()
        if any(node.op_type == "Range" or place in find_operator(node.op_type, opset).static for node, place in uses):
            value.const_value = ir.tensor(np.asarray(array), name=value.name)
            graph.inputs.remove(value)
            graph.register_initializer(value)
        else:
            feeds[value.name] = found.to(types[value.dtype])
    module = to_module(model, feeds, [value.name for value in graph.outputs], types)
    return module.forward(*feeds.values())


def fault(case: NodeCase, types: Types) -> str:
    """Return what is wrong with a case's results, or nothing."""
    try:
        for inputs, outputs in case.data_sets:
            for got, array in zip(results(case, inputs, types), outputs, strict=True):
                wanted = tensor(array)
                near = max(1e-6, 4 * torch.finfo(wanted.dtype).eps if wanted.is_floating_point() else 0)
                rtol, same = (1e-3 if case.name in ROUNDED else 10 * near), types is AS_WRITTEN
                torch.testing.assert_close(got, wanted, rtol=rtol, atol=near, equal_nan=True, check_dtype=same)
    except (AssertionError, GraphError) as error:
        return f"{case.name}: {error}"
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("types", [AS_WRITTEN, IN_FLOAT64], ids=["as written", "in float64"])
def test_every_case_gives_its_vector(cases: list[NodeCase], types: Types) -> None:
    chosen = [case for case in cases if not is_any(case.name, REFUSED | OTHERWISE)]
    assert [wrong for case in chosen if (wrong := fault(case, types))] == []
    assert len(chosen) > 700


def test_every_operator_has_a_case(cases: list[NodeCase]) -> None:
    seen = {node.op_type for case in cases for node in case.model.graph.node}
    assert set(OPERATORS) - seen == set()


def test_what_is_not_computed_is_refused(cases: list[NodeCase]) -> None:
    chosen = [case for case in cases if is_any(case.name, REFUSED)]
    assert {part for part in REFUSED for case in chosen if part in case.name} == set(REFUSED)
    for case in chosen:
        with pytest.raises(GraphError, match="cannot be computed here"):
            results(case, case.data_sets[0][0], AS_WRITTEN)
