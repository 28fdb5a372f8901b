from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bundle.base.errors import ArtifactError, GraphError, InputError, TargetUnavailable
from targets.base import RunConfig, SessionInfo, Variant
from targets.reference.session import OnnxRuntimeSession, cpu_capabilities
from targets.reference.target import F32, REFERENCE
from tests.contract.graphs import CASES, case, node, quantize, wide

INFO = SessionInfo(
    target="reference", capabilities=cpu_capabilities(), precision="int8", executed_on="device", settings={}
)


def open_with(folder: Path, model: onnx.ModelProto, *, optimizations: bool) -> OnnxRuntimeSession:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return OnnxRuntimeSession(path, INFO, optimizations=optimizations, threads=1)


def test_without_optimizations_q_dq_is_what_onnx_defines(tmp_path: Path) -> None:
    """Against NumPy in float64, values at the ties and beyond the range included; every scale a power of two."""
    x = np.array([[-9.0, -4.0, -0.046875, 0.015625, 0.046875, 3.96875, 3.999, 9.0]], np.float32)
    expected = quantize(x, 2.0**-5)
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    built = case(
        "ties", nodes, {"x": x}, {"y": expected}, {"s": np.array(2.0**-5, np.float32), "z": np.array(0, np.int8)}
    )
    with open_with(tmp_path, built.model, optimizations=False) as session:
        np.testing.assert_array_equal(session.infer(built.feed)["y"], expected)


@pytest.mark.parametrize("name", ["q_dq", "q_dq_extreme"])
def test_without_optimizations_quantized_products_are_exact(tmp_path: Path, name: str) -> None:
    with open_with(tmp_path, CASES[name].model, optimizations=False) as session:
        np.testing.assert_array_equal(wide(session.infer(CASES[name].feed)["y"]), CASES[name].expected["y"])
        assert session.info.settings["graph_optimizations"] == "off"


def test_a_quantized_variant_is_opened_without_optimizations(tmp_path: Path) -> None:
    onnx.save(CASES["q_dq"].model, tmp_path / "int8.onnx")
    recipe = F32.model_copy(update={"name": "int8", "graph": "quantized"})
    for chosen, expected in ((recipe, "off"), (F32, "all")):
        with REFERENCE.open(
            tmp_path, Variant(recipe=chosen, files=("int8.onnx",)), RunConfig(), "auto", keep=tmp_path
        ) as session:
            assert session.info.settings["graph_optimizations"] == expected


def test_a_graph_it_cannot_read_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(GraphError, match="ONNX Runtime refuses this graph"):
        OnnxRuntimeSession(tmp_path / "bad.onnx", INFO, optimizations=False, threads=1)
    with pytest.raises(ArtifactError, match="the graph is missing"):
        OnnxRuntimeSession(tmp_path / "none.onnx", INFO, optimizations=False, threads=1)


def test_a_dynamic_shape_or_a_strange_type_is_refused(tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(CASES["gelu"].model.SerializeToString())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    with pytest.raises(GraphError, match="cannot be fed or read"):
        open_with(tmp_path, model, optimizations=False)
    text = helper.make_tensor_value_info("y", TensorProto.STRING, (2,))
    number = helper.make_tensor_value_info("x", TensorProto.FLOAT, (2,))
    graph = helper.make_graph([node("Cast", ["x"], ["y"], to=TensorProto.STRING)], "cast", [number], [text])
    strange = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(GraphError, match="'y' cannot be fed or read"):
        open_with(tmp_path, strange, optimizations=False)


def test_what_the_reference_does_not_do() -> None:
    with pytest.raises(TargetUnavailable, match="does not run on 'GPU'"):
        REFERENCE.capabilities(RunConfig(device="GPU"))
    with pytest.raises(TargetUnavailable, match="emulates nothing"):
        REFERENCE.open(Path(), Variant(recipe=F32, files=("a.onnx",)), RunConfig(), "emulation", keep=Path())
    with pytest.raises(InputError, match="never quantized"):
        REFERENCE.scheme(cpu_capabilities())
