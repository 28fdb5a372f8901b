"""The products of a graph alone: which are found, where they are cut, and which kernels count."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundle.base.errors import GraphError
from targets.base import RunConfig, SessionInfo
from targets.intel.products import ORIGINALS, counted_kernels, isolate, products_timer
from targets.intel.runtime import shared_core
from targets.intel.session import HINT, OWN, OpenVinoSession
from targets.intel.target import INTEL

RANDOM = np.random.default_rng(0)
ATTENTION = [
    helper.make_node("Mul", ["x", "x"], ["square"], "square"),
    helper.make_node("MatMul", ["square", "wq"], ["q"], "q"),
    helper.make_node("MatMul", ["square", "wk"], ["k"], "k"),
    helper.make_node("Transpose", ["k"], ["kt"], "kt", perm=[0, 1, 3, 2]),
    helper.make_node("MatMul", ["q", "kt"], ["l"], "first"),
    helper.make_node("Softmax", ["l"], ["p"], "softmax"),
    helper.make_node("MatMul", ["p", "square"], ["y"], "second"),
]
WEIGHTS = {name: RANDOM.normal(size=(16, 16)).astype(np.float32) for name in ("wq", "wk")}
WEIGHTS |= {"scale": np.array(0.05, np.float32), "zero": np.array(0, np.int8)}


def convert(folder: Path, nodes: Sequence[onnx.NodeProto]) -> Path:
    """Write a graph from ``x`` to ``y``, ``[1, 2, 32, 16]`` both, as an IR."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 32, 16]) for name in "xy"]
    constants = [numpy_helper.from_array(array, name) for name, array in WEIGHTS.items()]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "model.onnx"
    )
    return folder / INTEL.convert(folder / "model.onnx", folder / "model.xml")[0]


def test_each_product_is_cut_from_what_computes_its_operands(tmp_path: Path) -> None:
    """Two products with weights, and the attention as one: three, none of which waits for the square or another's answer."""
    alone = isolate(convert(tmp_path, ATTENTION))
    kinds = [one.get_type_name() for one in alone.model.get_ordered_ops()]
    assert alone.products == len(alone.model.outputs) == 3 and len(alone.attentions) == 1
    assert kinds.count("Parameter") == 5 and "Multiply" not in kinds


def test_only_the_products_kernels_are_counted(tmp_path: Path) -> None:
    alone = isolate(convert(tmp_path, ATTENTION))
    compiled = shared_core().compile_model(alone.model, "CPU", {HINT: "f32"})
    names = counted_kernels(compiled, alone.attentions)
    layers = {one.get_friendly_name(): one for one in compiled.get_runtime_model().get_ops()}
    kinds = [str(layers[name].get_rt_info()["layerType"].value) for name in names]
    assert kinds.count("FullyConnected") == 2 and not {"Input", "Output", "Reorder", "Convert"} & set(kinds)
    originals = {one for name in names for one in str(layers[name].get_rt_info()[ORIGINALS].value).split(",")}
    assert alone.attentions <= originals
    assert products_timer(tmp_path / "model.xml", "f32", threads=1)() >= 0


def test_a_graph_without_a_product_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="no product to measure"):
        isolate(convert(tmp_path, [helper.make_node("Relu", ["x"], ["y"], "bend")]))


def test_without_a_hint_the_precision_is_the_devices_own_and_read_back(tmp_path: Path) -> None:
    run = RunConfig(threads=1)
    able = INTEL.capabilities(run)
    info = SessionInfo(target="intel", capabilities=able, precision="f32", executed_on="device", settings={})
    with OpenVinoSession(convert(tmp_path, ATTENTION), info, run, OWN) as session:
        own = session.info.settings[HINT]
        compiled = shared_core().compile_model(str(tmp_path / "model.xml"), "CPU")
        assert own == compiled.get_property(HINT).to_string()


def test_an_operand_keeps_the_quantizer_that_it_has_before_it_is_moved(tmp_path: Path) -> None:
    """q → Transpose → product: the product multiplies in INT8 in the graph, and alone."""
    pair = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["i"], "quantize"),
        helper.make_node("DequantizeLinear", ["i", "scale", "zero"], ["d"], "dequantize"),
        helper.make_node("Transpose", ["d"], ["t"], "swap", perm=[0, 1, 3, 2]),
        helper.make_node("Transpose", ["t"], ["u"], "back", perm=[0, 1, 3, 2]),
        helper.make_node("MatMul", ["u", "wq"], ["y"], "product"),
    ]
    alone = isolate(convert(tmp_path, pair))
    assert [one.get_type_name() for one in alone.model.get_ordered_ops()].count("FakeQuantize") == 1
