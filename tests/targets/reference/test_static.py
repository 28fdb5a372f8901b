"""ONNX Runtime's static quantization by its defaults."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from bundle.base.errors import GraphError
from targets.reference.static import quantize_statically
from tests.contract.graphs import CASES

CASE = CASES["attention"]


def test_the_graph_gets_pairs_around_its_products_and_keeps_its_interface(tmp_path: Path) -> None:
    onnx.save(CASE.model, tmp_path / "model.onnx")
    quantize_statically(tmp_path / "model.onnx", [CASE.feed] * 2, tmp_path / "int8.onnx")
    made = onnx.load(tmp_path / "int8.onnx")
    kinds = [node.op_type for node in made.graph.node]
    assert "QuantizeLinear" in kinds and "DequantizeLinear" in kinds
    names = [[one.name for one in model.graph.output] for model in (made, CASE.model)]
    assert names[0] == names[1]
    zeros = [onnx.numpy_helper.to_array(one) for one in made.graph.initializer if one.name.endswith("zero_point")]
    assert {array.dtype for array in zeros} & {np.dtype(np.int8)}


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    onnx.save(CASE.model, tmp_path / "model.onnx")
    with pytest.raises(GraphError, match="static quantization refuses"):
        quantize_statically(tmp_path / "model.onnx", [{"image": np.zeros((1, 1), np.float32)}], tmp_path / "int8.onnx")
