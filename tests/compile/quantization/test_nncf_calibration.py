"""Which images a calibration sees."""

from pathlib import Path

import nncf
import onnx
import pytest
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
