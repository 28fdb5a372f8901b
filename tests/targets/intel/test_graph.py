from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from openvino import opset13

from bundle.base.errors import ArtifactError, GraphError
from targets.intel import graph
from tests.contract.graphs import CASES, case, draw, node


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(CASES["attention"].model, path)
    return path


def test_two_conversions_give_the_same_bytes(source: Path, tmp_path: Path) -> None:
    """OpenVINO's own names count on through the process: without ``name_by_place`` the second file differs."""
    first = [(tmp_path / name).read_bytes() for name in graph.save(graph.convert(source), tmp_path / "first.xml")]
    graph.convert(source)
    second = [(tmp_path / name).read_bytes() for name in graph.save(graph.convert(source), tmp_path / "second.xml")]
    assert first == second


def test_saving_what_was_read_changes_nothing(source: Path, tmp_path: Path) -> None:
    graph.save(graph.convert(source), tmp_path / "first.xml")
    graph.save(graph.read(tmp_path / "first.xml"), tmp_path / "second.xml")
    again = graph.read(tmp_path / "second.xml")
    names = [operation.get_friendly_name() for operation in graph.read(tmp_path / "first.xml").get_ordered_ops()]
    assert [operation.get_friendly_name() for operation in again.get_ordered_ops()] == names


def test_weights_keep_their_precision_and_no_local_path_is_left(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(CASES["matmul_bias"].model, path)
    files = graph.save(graph.convert(path), tmp_path / "f32.xml")
    assert files == ("f32.xml", "f32.bin")
    text = (tmp_path / "f32.xml").read_text()
    assert 'element_type="f16"' not in text
    assert str(tmp_path) not in text


def test_operations_are_named_as_their_onnx_values(source: Path) -> None:
    names = {operation.get_friendly_name() for operation in graph.convert(source).get_ops()}
    assert {"scores", "weights", "biased"} <= names


def test_an_unknown_operator_is_a_graph_error(tmp_path: Path) -> None:
    model = case("relu", [node("Relu", ["x"], ["y"])], {"x": draw(2)}, {"y": draw(2).astype("float64")}).model
    model.graph.node[0].op_type = "Frobnicate"
    onnx.save(model, tmp_path / "bad.onnx")
    with pytest.raises(GraphError, match="OpenVINO refuses this graph") as caught:
        graph.convert(tmp_path / "bad.onnx")
    assert "Frobnicate" in caught.value.got


def test_a_missing_or_broken_file_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        graph.convert(tmp_path / "none.onnx")
    assert caught.value.expected == "none.onnx"
    graph.save(graph.convert(source), tmp_path / "model.xml")
    (tmp_path / "model.xml").write_text("<net>", encoding="utf-8")
    with pytest.raises(ArtifactError, match="cannot be read"):
        graph.read(tmp_path / "model.xml")
    (tmp_path / "model.bin").unlink()
    with pytest.raises(ArtifactError) as caught:
        graph.read(tmp_path / "model.xml")
    assert caught.value.expected == "model.bin"


def test_stored_as_half_it_is_smaller_and_computes_alike_twice_with_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(CASES["matmul_bias"].model, path)
    written = []
    for name in ("one", "two"):
        graph.save(graph.convert(path), tmp_path / f"{name}.xml")
        before = (tmp_path / f"{name}.bin").stat().st_size
        graph.store_fp16(tmp_path / f"{name}.xml")
        written.append([(tmp_path / f"{name}{suffix}").read_bytes() for suffix in (".xml", ".bin")])
        assert len(written[-1][1]) < 0.6 * before
    assert written[0] == written[1]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "model.onnx",
        "one.bin",
        "one.xml",
        "two.bin",
        "two.xml",
    ]
    feed = {
        "x": np.random.default_rng(0)
        .normal(size=tuple(graph.read(tmp_path / "one.xml").input(0).shape))
        .astype(np.float32)
    }
    exact, half = (
        openvino.compile_model(model, "CPU")(feed)[0]
        for model in (graph.convert(path), graph.read(tmp_path / "one.xml"))
    )
    np.testing.assert_allclose(half, exact, rtol=2e-2, atol=2e-3 * float(np.abs(exact).max()))


def test_a_quantized_models_large_constants_are_halved_and_those_that_would_suffer_are_not(tmp_path: Path) -> None:
    """OpenVINO's own compression leaves such a model alone; what FP16 cannot hold, and what is small, stays float32."""
    random = np.random.default_rng(0)
    x = opset13.parameter([1, 128], np.float32, name="x")
    weights = opset13.convert(opset13.constant(random.integers(-127, 127, (128, 128)).astype(np.int8)), "f32")
    kept = {
        "plain": random.normal(size=(64, 128)).astype(np.float32),
        "tiny": random.normal(size=(65, 128)).astype(np.float32) * 1e-7,
        "huge": random.normal(size=(66, 128)).astype(np.float32) * 1e6,
        "short": random.normal(size=(1, 128)).astype(np.float32),
    }
    low, high = opset13.constant(np.float32(-4)), opset13.constant(np.float32(4))
    hidden = opset13.matmul(opset13.fake_quantize(x, low, high, low, high, 256), weights, False, False)
    outputs = [opset13.matmul(hidden, opset13.constant(array), False, True) for array in kept.values()]
    model = openvino.Model(outputs, [x], "quantized")
    feed = {"x": random.normal(size=(1, 128)).astype(np.float32)}
    before = [np.array(value) for value in openvino.compile_model(model, "CPU")(feed).values()]
    graph.save(model, tmp_path / "g.xml")
    graph.store_fp16(tmp_path / "g.xml")
    stored = graph.read(tmp_path / "g.xml")
    types = {
        tuple(one.shape): one.get_element_type()
        for one in stored.get_ordered_ops()
        if one.get_type_name() == "Constant"
    }
    found = {name: types[array.shape] for name, array in kept.items()}
    f16, f32 = openvino.Type.f16, openvino.Type.f32
    assert found == {"plain": f16, "tiny": f32, "huge": f32, "short": f32}
    after = list(openvino.compile_model(stored, "CPU")(feed).values())
    for name, one, other in zip(kept, before, after, strict=True):
        np.testing.assert_allclose(other, one, atol=2e-3 * float(np.abs(one).max()))
        assert np.array_equal(one, other) == (name != "plain")
