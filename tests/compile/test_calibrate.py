"""Which images a calibration sees."""

from pathlib import Path

import nncf
import onnx
import pytest
from PIL import Image

from bundle.preprocess import Preprocess
from calibration.sampling import from_images
from compile import calibrate
from compile.graph import GraphInfo
from targets.base import RunConfig
from targets.table import TARGETS

MANY = 70  # more than the shipped calibration set holds
SIDE = 4


def test_every_image_that_was_drawn_is_used_and_named_by_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[1,3,{SIDE},{SIDE}] image) => (float[1,3,{SIDE},{SIDE}] semseg) {{ semseg = Neg (image) }}"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "g.onnx")
    (tmp_path / "images").mkdir()
    for number in range(MANY):
        Image.new("RGB", (SIDE, SIDE), (number, 0, 0)).save(tmp_path / "images" / f"{number:02}.png")
    preprocess = Preprocess(height=SIDE, width=SIDE)
    drawn = from_images(tmp_path / "images", MANY, seed=0, preprocess=preprocess)
    target = TARGETS["jetson"]
    scheme = target.scheme(target.capabilities(RunConfig(device="emulation")))
    info = GraphInfo(io="raw", preprocess=preprocess, tasks={"semseg": 3})
    question = calibrate.Question(tmp_path / "g.onnx", info, drawn, scheme, "onnx")
    seen = []

    def quantize(model: object, dataset: object, *, subset_size: int, **_: object) -> object:
        seen.append((len(list(dataset.get_inference_data())), subset_size))  # type: ignore[attr-defined]
        return model

    monkeypatch.setattr(nncf, "quantize", quantize)
    calibrate.run_nncf(onnx.load(tmp_path / "g.onnx"), question, [])
    assert seen == [(MANY, MANY)]
    assert len(calibrate.cache_key(question).ids) == MANY
