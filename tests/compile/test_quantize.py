"""Quantized graphs of both targets: what they hold, what stays in float, what is refused."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from bundle.base.errors import ArtifactError, DatasetError
from bundle.formats.artifacts import Quantized, Simplified
from calibration.sampling import CalibrationSet, from_folder
from compile.quantize import main, quantize
from compile.stage.artifacts import QuantizedSettings, variants_of
from compile.stage.graph_info import GRAPH_FILE, graph_info, read_settings
from targets.base import RunConfig
from targets.table import TARGETS
from tests.compile import made
from tests.contract.flows import QUANTIZING

RUN = RunConfig(threads=1)
# The wider interface: it has a head and a tail to keep in float. Raw graphs of some targets run in test_pipeline.
EDGE = pytest.mark.parametrize("io", ["edge"], indirect=True)


@pytest.fixture(scope="module", params=QUANTIZING)
def quantized(
    request: pytest.FixtureRequest,
    simplified: Simplified,
    calibration: CalibrationSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> Quantized:
    """Every variant of the tiny model for a target."""
    out = tmp_path_factory.mktemp("quantized") / request.param
    return quantize(simplified, calibration, out, TARGETS[request.param], RUN, cache=out.parent / "cache")


def target_of(quantized: Quantized) -> str:
    """The name of the target an artifact is for."""
    return read_settings(QuantizedSettings, quantized).target


def int8_graph(quantized: Quantized) -> Path:
    """The file of the INT8 variant's graph."""
    [int8] = [variant for variant in variants_of(quantized) if variant.recipe.name == "int8"]
    return quantized.file(int8.files[0])


@pytest.mark.slow
@EDGE
def test_each_variant_of_the_target_is_there(quantized: Quantized) -> None:
    target = TARGETS[target_of(quantized)]
    recipes = target.variants(target.capabilities(RUN))
    assert tuple(variant.recipe for variant in variants_of(quantized)) == recipes
    ranges = {"ranges.json"} if target.profile.fp16_in_graph else set()
    assert {name for variant in variants_of(quantized) for name in variant.files} | ranges == set(
        quantized.record.files
    )


@pytest.mark.slow
@EDGE
def test_its_numbers_are_near_the_float_model_and_not_equal(quantized: Quantized) -> None:
    checks = read_settings(QuantizedSettings, quantized).checks
    worst = {name: max(error.relative for error in errors) for name, errors in checks.items()}
    assert worst["f32"] < 1e-4
    assert 1e-4 < worst["int8"] < 0.1


@EDGE
def test_int8_weights_and_activations_are_where_they_belong(quantized: Quantized) -> None:
    names = quantizers(quantized)
    assert any("mlp.fc1" in name or "norm2" in name for name in names)
    assert not [name for name in names if "gate" in name or "postprocess" in name or "preprocess/Mul" in name]


def quantizers(quantized: Quantized) -> list[str]:
    """Names of the nodes that quantize an activation."""
    if TARGETS[target_of(quantized)].own_format is None:
        model = onnx.load(int8_graph(quantized))
        constants = {initializer.name for initializer in model.graph.initializer}
        return [n.name for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] not in constants]
    text = int8_graph(quantized).read_text()
    return [line.split('name="')[1].split('"')[0] for line in text.splitlines() if 'type="FakeQuantize"' in line]


@EDGE
def test_what_tensorrt_forbids_is_gone(quantized: Quantized) -> None:
    if TARGETS[target_of(quantized)].profile.rules != "tensorrt":
        assert quantizers(quantized)
        return
    model = onnx.load(int8_graph(quantized))
    constants = {initializer.name: onnx.numpy_helper.to_array(initializer) for initializer in model.graph.initializer}
    kinds = Counter()
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = constants[node.input[1]], constants[node.input[2]]
            weight = node.input[0] in constants
            kinds[(node.op_type, str(zero.dtype), weight)] += 1
            assert zero.dtype == np.int8 and not zero.any() and (scale > 0).all()
            assert weight or scale.ndim == 0
    assert kinds[("QuantizeLinear", "int8", False)] > 0 and kinds[("DequantizeLinear", "int8", True)] > 0


@EDGE
def test_reasons_are_recorded(quantized: Quantized) -> None:
    note = read_settings(QuantizedSettings, quantized).notes["int8"]
    assert note.ignored_nodes and note.scheme is not None


@pytest.mark.parametrize("io", ["raw"], indirect=True)
class TestRefusals:
    """What cannot be used ends in one clear error, before anything is written."""

    def call(self, simplified: Simplified, folder: Path, calibration: Path) -> None:
        """Quantize as the script does."""
        main("jetson", simplified.folder, calibration, folder / "out", split="calibration", count=4, threads=1)

    def test_an_empty_calibration_folder(self, simplified: Simplified, tmp_path: Path) -> None:
        (tmp_path / "none").mkdir()
        with pytest.raises(DatasetError, match="no image here"):
            self.call(simplified, tmp_path, tmp_path / "none")
        assert not (tmp_path / "out").exists()

    def test_an_image_of_another_size(self, simplified: Simplified, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        Image.fromarray(made.image(0)[:16]).save(tmp_path / "images" / "half.png")
        with pytest.raises(DatasetError, match="wrong size") as caught:
            self.call(simplified, tmp_path, tmp_path / "images")
        assert "half.png" in caught.value.where

    def test_an_image_with_nan(self, simplified: Simplified, tmp_path: Path) -> None:
        (tmp_path / "images").mkdir()
        spoiled = made.image(0).astype(np.float32)
        spoiled[3, 3] = np.nan
        np.save(tmp_path / "images" / "spoiled.npy", spoiled)
        with pytest.raises(DatasetError, match="NaN"):
            self.call(simplified, tmp_path, tmp_path / "images")

    def test_an_altered_graph(self, simplified: Simplified, scenes: Path, tmp_path: Path) -> None:
        copy = tmp_path / "graph"
        shutil.copytree(simplified.folder, copy)
        content = bytearray((copy / GRAPH_FILE).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / GRAPH_FILE).write_bytes(content)
        with pytest.raises(ArtifactError, match=f"{GRAPH_FILE} was altered"):
            main("jetson", copy, scenes, tmp_path / "out", split="calibration", count=4)


@pytest.mark.slow
@pytest.mark.parametrize("io", ["raw"], indirect=True)
def test_bare_images_and_a_bare_file_are_enough(
    simplified: Simplified, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in made.CALIBRATION:
        shutil.copyfile(scenes / "image" / f"{name}.png", images / f"{name}.png")
    main("jetson", simplified.file(GRAPH_FILE), images, tmp_path / "bare", count=64, threads=1)
    assert "graph: taken as it is\n" in capsys.readouterr().err
    main("jetson", simplified.folder, scenes, tmp_path / "known", count=64, threads=1)
    assert "graph:" not in capsys.readouterr().err
    both = [(tmp_path / name / "float.onnx").read_bytes() for name in ("bare", "known")]
    assert both[0] == both[1]  # the INT8 graphs differ: of the bare file's images a quarter is held out
    drawn = from_folder(images, "", 64, seed=0, preprocess=graph_info(simplified).preprocess)
    assert len(drawn.ids) == len(made.CALIBRATION)
