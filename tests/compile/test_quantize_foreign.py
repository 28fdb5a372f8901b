"""A bare ONNX file through quantize: what it costs is measured on images held out, and INT8 of no use ends with 1."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper
from PIL import Image

from bundle.formats.artifacts import Quantized, load
from calibration.sampling import from_folder, hold_out
from compile.graphs.load_onnx import import_graph
from compile.graphs.pin_input import InputFlags
from compile.quantization.fidelity import useless
from compile.quantize import main
from compile.stage.artifacts import OutputFidelity, QuantizedSettings, VariantFidelity, variants_of
from compile.stage.graph_info import graph_info, read_settings
from targets.base import RunConfig
from targets.table import target as find_target
from tests.contract.flows import QUANTIZING

HEAD = '<ir_version: 9, opset_import: ["": 17]> g (float[N,{channels},H,W] pixels) => (float[N,5] scores) '
SIZE = 32
SCENES = Path(__file__).parents[2] / "data" / "scenes"
FLAGS = InputFlags("pixels", (1, 3, SIZE, SIZE))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six smooth images."""
    generator, folder = np.random.default_rng(1), tmp_path / "images"
    folder.mkdir()
    for index in range(6):
        few = Image.fromarray(generator.integers(0, 255, (4, 4, 3), dtype=np.uint8))
        few.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def network(folder: Path, outlier: float, last: str = "scores = Gemm (h, last)", channels: int = 3) -> Path:
    """A classifier with weights in FP16 behind a Cast; its first channel is ``outlier`` times larger, and nothing reads it."""
    body = """{
        w = Cast <to=1> (half)
        a = Conv <strides=[2,2], kernel_shape=[3,3], pads=[1,1,1,1]> (pixels, w)
        b = Relu (a)
        d = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (b, second)
        e = Relu (d)
        f = GlobalAveragePool (e)
        h = Flatten (f)
    """
    model, generator = (
        onnx.parser.parse_model(f"{HEAD.format(channels=channels)}{body}{last} }}"),
        np.random.default_rng(2),
    )
    first, second = generator.normal(size=(16, channels, 3, 3)) / 5, generator.normal(size=(16, 16, 3, 3)) / 12
    first[0] *= outlier
    second[:, 0] = 0
    arrays = {
        "half": first.astype(np.float16),
        "second": second.astype(np.float32),
        "off": np.float32(25),
        "last": generator.normal(size=(16, 5)).astype(np.float32) / 4,
    }
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


def run(target: str, model: Path, images: Path, *, grey: bool = False) -> QuantizedSettings:
    """Quantize as the command does."""
    half = "0.5" if grey else ""
    shape = f"1,{1 if grey else 3},{SIZE},{SIZE}"
    out = model.parent / "out"
    main(target, model, images, out, count=8, threads=1, mean=half, std=half, input_name="pixels", shape=shape)
    return read_settings(QuantizedSettings, load(Quantized, model.parent / "out"))


@pytest.mark.slow
@pytest.mark.parametrize("target", QUANTIZING)
def test_each_variant_of_a_bare_file_has_figures(
    target: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = run(target, network(tmp_path, 1.0), images)
    rows = {row.variant: row for row in settings.fidelity}
    assert list(rows) == [variant.recipe.name for variant in settings.variants]
    assert rows["int8"].int8_share is not None and 0.5 < rows["int8"].int8_share <= 1 and rows["f32"].int8_share is None
    for row in rows.values():
        [output] = row.outputs
        assert output.output == "scores" and output.cosine > 0.98 and output.sqnr_db > 20
        assert (row.median_ms is None) is (target == "jetson")
    assert rows["f32"].outputs[0].sqnr_db > 80 > rows["int8"].outputs[0].sqnr_db
    assert settings.graph.tasks == {} and settings.graph.free_outputs[0].shape == (1, 5)
    assert "on 2 images held out" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("target", QUANTIZING)
def test_int8_that_drowns_its_output_in_noise_ends_with_1(
    target: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(target, network(tmp_path, 3000.0), images)
    assert ended.value.code == 1
    assert variants_of(load(Quantized, tmp_path / "out"))
    assert "of no use: int8: scores" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("target", QUANTIZING)
def test_probabilities_that_are_near_zero_on_every_image_are_converted(
    target: str, images: Path, tmp_path: Path
) -> None:
    faint = network(tmp_path, 1.0, "g = Gemm (h, last)\n k = Sub (g, off)\n scores = Sigmoid (k)")
    for row in run(target, faint, images).fidelity:
        assert row.outputs[0].below_floor and row.outputs[0].sqnr_db > 100


def as_pillow_has_it(path: Path) -> np.ndarray:
    """An image as a grey network takes it with a mean and a deviation of a half: float32 [1, 1, H, W] of -1 to 1."""
    grey = np.asarray(Image.open(path).convert("L"), dtype=np.float32)
    return (grey / 127.5 - 1)[None, None]


@pytest.mark.slow
@pytest.mark.parametrize("target", QUANTIZING)
def test_a_grey_network_is_quantized(
    target: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = run(target, network(tmp_path, 1.0, channels=1), images, grey=True)
    assert settings.graph.interface[0][0].shape == (1, 1, SIZE, SIZE) and settings.graph.colours == "grey"
    assert settings.graph.preprocess.mean == settings.graph.preprocess.std == (0.5, 0.5, 0.5)
    rows = {row.variant: row.outputs[0] for row in settings.fidelity}
    assert rows["f32"].sqnr_db > 80 > rows["int8"].sqnr_db > 20
    assert "made grey (Pillow's mode L, ITU-R 601), mean 0.5, std 0.5" in capsys.readouterr().err
    given = ort.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    with find_target(target).open(
        tmp_path / "out", settings.variants[0], RunConfig(threads=1), "auto", keep=tmp_path
    ) as session:
        for path in sorted(images.iterdir()):
            [want] = given.run(None, {"pixels": as_pillow_has_it(path)})
            feed = settings.graph.feed(np.asarray(Image.open(path)))
            np.testing.assert_allclose(session.infer(feed)["scores"], want, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_images_of_any_size_are_fitted_before_a_prepared_file_is_checked(images: Path, tmp_path: Path) -> None:
    labelled = tmp_path / "labelled"
    shutil.copytree(images, labelled / "image")
    names = sorted(path.stem for path in images.iterdir())
    (labelled / "calibration.txt").write_text("\n".join(names) + "\n")
    spec = json.loads((SCENES / "dataset.json").read_text()) | {"schema_version": 2, "size_policy": "stretch"}
    (labelled / "dataset.json").write_text(json.dumps(spec))
    main("intel", network(tmp_path, 1.0), labelled, tmp_path / "out", threads=1, input_name="pixels", shape="1,3,24,40")
    assert read_settings(QuantizedSettings, load(Quantized, tmp_path / "out")).graph.preprocess.width == 40


def row(sqnr_db: float, *, share: float | None = 1.0, labels: bool = False) -> VariantFidelity:
    """A variant with one output."""
    output = OutputFidelity(output="o", sqnr_db=sqnr_db, cosine=1, labels=labels, below_floor=False)
    return VariantFidelity(variant="int8", outputs=(output,), int8_share=share, median_ms=None)


def test_what_is_of_no_use() -> None:
    assert not list(useless([row(25.0), row(8.0, labels=True), row(200.0, share=None)]))
    for one in (row(14.0), row(6.0, labels=True), row(40.0, share=0.0), row(-200.0)):
        assert len(list(useless([one]))) == 1


@pytest.mark.parametrize(("count", "calibrated", "held"), [(2, 2, 3), (4, 3, 1), (6, 4, 2), (99, 4, 2)])
def test_images_to_measure_on_are_none_that_calibrate(
    count: int, calibrated: int, held: int, images: Path, tmp_path: Path
) -> None:
    graph = import_graph(network(tmp_path, 1.0), tmp_path / "x", mean=(0, 0, 0), std=(1, 1, 1), flags=FLAGS)
    drawn = from_folder(images, "calibration", count, seed=0, preprocess=graph_info(graph).preprocess)
    kept, others = hold_out(drawn, images, "calibration", 3, seed=0)
    assert (len(kept.paths), len(kept.ids), len(others.paths)) == (calibrated, calibrated, held)
    assert not set(kept.paths) & set(others.paths)


def test_a_single_image_serves_for_both(images: Path, tmp_path: Path) -> None:
    for path in sorted(images.iterdir())[1:]:
        path.unlink()
    graph = import_graph(network(tmp_path, 1.0), tmp_path / "x", mean=(0, 0, 0), std=(1, 1, 1), flags=FLAGS)
    drawn = from_folder(images, "calibration", 4, seed=0, preprocess=graph_info(graph).preprocess)
    kept, others = hold_out(drawn, images, "calibration", 3, seed=0)
    assert kept.paths == others.paths and len(kept.paths) == 1
