"""A channel that stands out before a layer norm or a linear is named, with how far."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from studies.quantization.outlier_stats import describe_outliers, measure_outliers

TEXT = """<ir_version: 9, opset_import: ["": 20]>
made (float[1,4,6] x) => (float[1,4,6] y, float[1,4,1] z)
<float[6,1] w = {1.0,1.0,1.0,1.0,1.0,1.0}, float[6] g = {1.0,1.0,1.0,1.0,1.0,1.0}, float[6] k = {1.0,1.0,1.0,1.0,-50.0,1.0}> {
  [wide] a = Mul (x, k)
  [first] b = LayerNormalization <axis = -1> (x, g)
  [second] c = LayerNormalization <axis = -1> (a, g)
  [sum] y = Add (b, c)
  [again] s = MatMul (a, w)
  [third] z = MatMul (y, w)
}"""


def test_the_widest_channel_is_found_over_images_and_tokens(tmp_path: Path) -> None:
    ir.save(ir.from_onnx_text(TEXT), tmp_path / "model.onnx")
    images = [np.random.default_rng(seed).normal(size=(1, 4, 6)).astype(np.float32) for seed in range(3)]
    first, second, third = measure_outliers(tmp_path / "model.onnx", [{"x": one} for one in images], threads=1)
    peaks = np.abs(np.stack(images)).max(axis=(0, 1, 2))
    assert (first.reader, second.reader, third.reader, second.channel) == ("first", "second", "third", 4)
    assert first.largest == pytest.approx(peaks.max()) and first.median == pytest.approx(np.median(peaks))
    assert second.largest == pytest.approx(50 * peaks[4])
    assert describe_outliers([first, second]).startswith(
        f"largest activation {second.largest:.3g} before second (channel 4)"
    )


def test_a_graph_without_norms_or_linears_has_nothing_to_say(tmp_path: Path) -> None:
    text = '<ir_version: 9, opset_import: ["": 20]> g (float[1,3] x) => (float[1,3] y) { y = Relu (x) }'
    ir.save(ir.from_onnx_text(text), tmp_path / "model.onnx")
    assert measure_outliers(tmp_path / "model.onnx", [], threads=1) == () and describe_outliers([]).startswith("no ")
