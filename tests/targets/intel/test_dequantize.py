"""OpenVINO graphs whose layers went back to float."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from targets.base import RunConfig, Variant, VariantRecipe
from targets.intel.dequantize import dequantize_layers
from targets.intel.graph import convert, read, save
from targets.intel.target import INTEL

TEXT = """<ir_version: 9, opset_import: ["": 19]>
made (float[1,4,6] image) => (float[1,4,5] y, float[1,4,5] z) <float[3,5] w1, float[3,5] w2, float[5] b> {
  [s] a, c = Split <axis = 2, num_outputs = 2> (image)
  [m1] p = MatMul (a, w1)
  [add] y = Add (p, b)
  [m2] z = MatMul (c, w2)
}"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products of the halves of one tensor."""
    model = onnx.parser.parse_model(TEXT)
    generator = np.random.default_rng(0)
    del model.graph.initializer[:]
    for name, shape in (("w1", (3, 5)), ("w2", (3, 5)), ("b", (5,))):
        array = generator.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    path = tmp_path_factory.mktemp("graph") / "float.onnx"
    onnx.save(model, path)
    return path


def run(folder: Path, name: str, feed: np.ndarray) -> dict[str, np.ndarray]:
    """Run an IR."""
    recipe = VariantRecipe(name="int8", graph="quantized", hint="f32", reason="a test")
    with INTEL.open(
        folder, Variant(recipe=recipe, files=(name,)), RunConfig(threads=1), "auto", keep=folder
    ) as session:
        return dict(session.infer({"image": feed}))


def test_one_returned_is_float_and_the_other_stays(graph: Path, tmp_path: Path) -> None:
    import nncf

    generator = np.random.default_rng(1)
    feeds = [generator.normal(size=(1, 4, 6)).astype(np.float32) for _ in range(4)]
    quantized = nncf.quantize(convert(graph), nncf.Dataset([{"image": feed} for feed in feeds]), subset_size=4)
    save(quantized, tmp_path / "plain.xml")
    save(convert(graph), tmp_path / "float.xml")
    mixed = read(tmp_path / "plain.xml")
    assert dequantize_layers(mixed, convert(graph), {"m1"}) == 1
    save(mixed, tmp_path / "mixed.xml")
    answers = {name: run(tmp_path, f"{name}.xml", feeds[0]) for name in ("float", "plain", "mixed")}
    np.testing.assert_allclose(answers["mixed"]["y"], answers["float"]["y"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(answers["mixed"]["z"], answers["plain"]["z"], rtol=1e-5, atol=1e-5)
    assert np.abs(answers["plain"]["y"] - answers["float"]["y"]).max() > 1e-4
