"""Which images a calibration sees."""

from pathlib import Path

import nncf
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from nncf.onnx.engine import ONNXEngine
from nncf.openvino.engine import OVNativeEngine
from PIL import Image

from bundle.base.errors import GraphError
from bundle.tasks.preprocess import Preprocess
from calibration.sampling import from_folder
from compile.quantization import nncf_calibration as calibrate
from compile.quantization.formats import ONNX
from compile.stage.graph_info import GraphInfo
from targets.base import RunConfig
from targets.scheme import smoothed
from targets.table import TARGETS

MANY = 70  # more than the shipped calibration set holds
SIDE = 4


def ask(folder: Path, body: str, *, count: int, initializers: str = "") -> calibrate.CalibrationRequest:
    """What is asked of a graph of one task, with ``count`` images of one colour each."""
    text = f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[1,3,{SIDE},{SIDE}] image) => (float[1,3,{SIDE},{SIDE}] semseg) {initializers} {{ {body} }}"""
    onnx.save(onnx.parser.parse_model(text), folder / "g.onnx")
    (folder / "images").mkdir()
    for number in range(count):
        Image.new("RGB", (SIDE, SIDE), (number, 0, 0)).save(folder / "images" / f"{number:02}.png")
    preprocess = Preprocess(height=SIDE, width=SIDE)
    drawn = from_folder(folder / "images", "", count, seed=0, preprocess=preprocess)
    target = TARGETS["jetson"]
    scheme = target.scheme(target.capabilities(RunConfig(device="emulation")))
    return calibrate.CalibrationRequest(
        folder / "g.onnx", GraphInfo(io="raw", preprocess=preprocess, tasks={"semseg": 3}), drawn, scheme, ONNX
    )


def test_every_image_that_was_drawn_is_used_and_named_by_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(tmp_path, "semseg = Neg (image)", count=MANY)
    seen = []

    def quantize(model: object, dataset: object, *, subset_size: int, **_: object) -> object:
        seen.append((len(list(dataset.get_inference_data())), subset_size))  # type: ignore[attr-defined]
        return model

    monkeypatch.setattr(nncf, "quantize", quantize)
    calibrate.run_nncf(onnx.load(request.source), request, [])
    assert seen == [(MANY, MANY)]
    assert calibrate.cache_key(request).settings["ids"] == list(request.calibration.ids)


def test_nncf_runs_graphs_on_as_many_threads_as_the_build_has(tmp_path: Path) -> None:
    graph = onnx.load(ask(tmp_path, "semseg = Neg (image)", count=1).source)

    def taken() -> tuple[int, int]:
        compiled = OVNativeEngine(openvino.convert_model(tmp_path / "g.onnx")).engine.infer_request.get_compiled_model()
        session = ONNXEngine(graph).sess
        return session.get_session_options().intra_op_num_threads, compiled.get_property("INFERENCE_NUM_THREADS")

    with calibrate.limited(0):
        default = taken()
    with calibrate.limited(1):
        assert taken() == (1, 1)
    assert taken() == default


def test_a_weight_behind_a_transpose_is_quantized_and_refused_with_smoothquant(tmp_path: Path) -> None:
    body = "wt = Transpose <perm = [1, 0]> (w) [p] semseg = MatMul (image, wt)"
    request = ask(
        tmp_path, body, count=2, initializers=f"<float[{SIDE},{SIDE}] w = {{{', '.join(['0.5'] * SIDE**2)}}}>"
    )
    model = onnx.load(request.source)
    plain = calibrate.run_nncf(model, request, [])
    assert any(node.op_type == "QuantizeLinear" for node in plain.graph.node)
    with pytest.raises(GraphError, match="NNCF refuses this graph"):
        calibrate.run_nncf(onnx.load(request.source), request._replace(scheme=smoothed(request.scheme)), [])


def test_a_convolution_with_computed_weights_stays_in_float(tmp_path: Path) -> None:
    """Its weights depend on the image, behind a Reshape; NNCF alone ends with a fault at it. The other one is quantized."""
    body = """m = ReduceMean <keepdims = 1> (image, axes) f = Reshape (m, shape)
    own = Conv <group = 3, pads = [0, 0, 0, 0]> (image, f) h = Relu (own) semseg = Conv (h, w)"""
    weights = ", ".join(f"{0.1 * (index - 4):.1f}" for index in range(9))
    initializers = f"<int64[2] axes = {{2, 3}}, int64[4] shape = {{3, 1, 1, 1}}, float[3,3,1,1] w = {{{weights}}}>"
    request = ask(tmp_path, body, count=4, initializers=initializers)
    calibrate.write_calibrated(request, tmp_path / "quantized.onnx")
    before, after = onnx.load(request.source), onnx.load(tmp_path / "quantized.onnx")
    [own, _] = [node for node in before.graph.node if node.op_type == "Conv"]
    [same, _] = [node for node in after.graph.node if node.op_type == "Conv"]
    assert same.attribute == own.attribute and same.output == own.output and same.input[1] == own.input[1]
    assert not after.functions and [opset.domain for opset in after.opset_import] == [""]
    assert sum(node.op_type == "DequantizeLinear" for node in after.graph.node) >= 2
    feed = calibrate.feeds_of(request.info, request.calibration)[3]
    [want], [got] = (
        onnxruntime.InferenceSession(path).run(None, feed) for path in (request.source, tmp_path / "quantized.onnx")
    )
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()
