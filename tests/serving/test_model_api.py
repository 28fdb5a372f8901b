"""OpenVINO Model API loads what is written for it, and answers as the session that judges. Its wheel is in an extra of its own."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from bundle.formats.manifest import Bundle, load_bundle
from bundle.judging.frames import feed
from serving.write import write_serving
from targets.base import RunConfig
from targets.open import open_session
from tests.bundle.made_onnx import make

needs_model_api = pytest.mark.skipif(
    importlib.util.find_spec("model_api") is None,
    reason="no openvino-model-api here: pip install --target DIR --no-deps openvino-model-api, and PYTHONPATH=DIR",
)


def loaded(folder: Path) -> ModuleType:
    """Import the class that stands beside the graph."""
    spec = importlib.util.spec_from_file_location("multi_task_dense", folder / "multi_task_dense.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["multi_task_dense"] = module
    spec.loader.exec_module(module)
    return module


@needs_model_api
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Model API's own imports
@pytest.mark.parametrize("fixture", ["edge_bundle", "raw_bundle"])
def test_model_api_answers_as_the_session(fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    bundle: Bundle = request.getfixturevalue(fixture)
    write_serving(bundle, "model-api", tmp_path / "out", variant="")
    size, name = bundle.manifest.preprocess, bundle.manifest.name
    frame = np.random.default_rng(5).integers(0, 256, (size.height, size.width, 3)).astype(np.uint8)
    session, _ = open_session(bundle, execute="device", variant="", run=RunConfig(threads=1))
    with session:
        expected = session.infer(feed(bundle.manifest, frame))
    model = loaded(tmp_path / "out").load(tmp_path / "out" / f"{name}.xml")
    answers = model(np.ascontiguousarray(frame[..., ::-1]))  # BGR
    assert list(model.params.labels) == list(bundle.manifest.dataset.classes["semseg"])
    assert sorted(answers) == sorted(expected)
    for key, wanted in expected.items():
        got = answers[key]
        if wanted.dtype == np.uint8:
            np.testing.assert_array_equal(got, wanted)
        else:  # with Model API's own steps before it the graph is compiled otherwise: measured 2e-7 and 2e-6
            np.testing.assert_allclose(got, wanted, atol=2e-5)


@needs_model_api
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_create_model_finds_the_class_by_the_files_own_type(edge_bundle: Bundle, tmp_path: Path) -> None:
    write_serving(edge_bundle, "model-api", tmp_path / "out", variant="")
    loaded(tmp_path / "out")
    from model_api.models import Model

    model = Model.create_model(str(tmp_path / "out" / "tiny.xml"), device="CPU")
    assert type(model).__module__ == "multi_task_dense"
    assert sorted(model(np.zeros((48, 64, 3), np.uint8))) == sorted(edge_bundle.manifest.tasks)


def test_an_onnx_graph_carries_the_same_words(tmp_path: Path) -> None:
    bundle = load_bundle(make(tmp_path / "bundle", "onnxruntime"))
    write_serving(bundle, "model-api", tmp_path / "out", variant="")
    model = onnx.load(tmp_path / "out" / "made.onnx")
    onnx.checker.check_model(model)
    words = {row.key: row.value for row in model.metadata_props}
    assert words["model_info model_type"] == "MultiTaskDense"
    assert [float(value) for value in words["model_info mean_values"].split()] == pytest.approx(
        [255 * value for value in bundle.manifest.preprocess.mean]
    )
    assert words["model_info labels"].split() == list(bundle.manifest.dataset.classes["semseg"])
    model.ClearField("metadata_props")
    before = onnx.load_model_from_string(bundle.read("f32.onnx"))
    before.ClearField("metadata_props")
    assert model.SerializeToString(deterministic=True) == before.SerializeToString(deterministic=True)
