"""The interfaces ``nchw`` and ``nhwc`` through the stages: float32 at both ends, of the FP16 graph too, on each runtime.

And through a whole build: judged like the others, and served as the files of a framework say.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from bundle.formats.io_forms import Io, prediction
from bundle.formats.manifest import load_bundle
from bundle.judging.choice import pick
from bundle.judging.regression_report import read_report
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from compile.graphs.fp16 import write_fp16, write_ranges
from compile.pipeline import build_bundle
from compile.stage.graph_info import GRAPH_FILE
from serving.table import Framework
from serving.write import write_serving
from targets.base import RunConfig, Variant, VariantRecipe
from targets.table import target
from tests.compile import made
from tests.compile.conftest import FirstStages
from tests.compile.test_pipeline import config

TYPES = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT32: "int32"}


@pytest.mark.slow
@pytest.mark.parametrize("io", ["nchw", "nhwc"])
def test_each_runtime_answers_the_same_maps(io: Io, first_stages: FirstStages, tmp_path: Path) -> None:
    _, simplified = first_stages(io)
    source, info = simplified.folder / GRAPH_FILE, made.info(io)
    import torch

    image, feed = made.image(3), info.feed(made.image(3))
    with torch.no_grad():
        raws = made.model()(torch.from_numpy(info.preprocess.apply(image)))
    expected = {name: predict(task(name), raw[0].numpy()) for name, raw in raws.items()}
    files, _ = write_fp16(source, tmp_path, "f16", write_ranges(source, tmp_path, [feed], threads=1))
    for path in (source, *(tmp_path / name for name in files)):
        graph = onnx.load(path, load_external_data=False).graph
        ends = [(one.name, TYPES[one.type.tensor_type.elem_type]) for one in (*graph.input, *graph.output)]
        assert ends == [(spec.name, spec.dtype) for specs in info.interface for spec in specs], path
    recipe = VariantRecipe(name="f32", graph="float", hint="f32", reason="a test")
    for name in ("intel", "onnxruntime", "reference"):
        chosen = target(name)
        graphs = chosen.convert(source, tmp_path / f"{name}{chosen.graph_suffix}")
        variant = Variant(recipe=recipe, files=graphs)
        with chosen.open(tmp_path, variant, RunConfig(threads=1), "auto", keep=tmp_path) as session:
            answers = session.infer(feed)
        for key, wanted in expected.items():
            got = prediction(io, task(key), answers[key][0])
            assert got.dtype == wanted.dtype and got.shape == wanted.shape
            if wanted.dtype == np.uint8:
                assert (got == wanted).mean() > 0.999
            else:
                np.testing.assert_allclose(got, wanted, atol=1e-4)


SERVED: dict[str, dict[Io, Framework]] = {
    "intel": {"nchw": "ovms", "nhwc": "triton"},
    "jetson": {"nchw": "deepstream", "nhwc": "isaac-ros"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVED)
def test_a_whole_build_is_judged_and_served(name: str, checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
    """Both interfaces have the same metrics, near the reference's: their answers differ in dtypes and axes only."""
    compiled = {}
    for io, framework in SERVED[name].items():
        bundle = load_bundle(build_bundle(config(name, checkpoint, scenes, tmp_path / io, io=io), made.quiet))
        assert bundle.manifest.io == io and (bundle.manifest.inputs, bundle.manifest.outputs) == made.info(io).interface
        report = read_report(bundle.folder)
        assert report.images == len(made.EVALUATION) and report.passed
        compiled[io] = {task: row.compiled for task, row in report.tasks.items()}
        assert compiled[io] == pytest.approx({task: row.reference for task, row in report.tasks.items()}, rel=0.1)
        for file in (one.files[0] for one in bundle.manifest.variants if name == "jetson"):
            graph = onnx.load(bundle.folder / file, load_external_data=False).graph
            ends = [TYPES[one.type.tensor_type.elem_type] for one in (*graph.input, *graph.output)]
            assert ends == [spec.dtype for specs in made.info(io).interface for spec in specs], file
        write_serving(bundle, framework, tmp_path / "served" / io, variant="")
        held = {path.name: path.read_bytes() for path in (tmp_path / "served" / io).rglob("*") if path.is_file()}
        assert bundle.read(bundle.manifest.variant(pick(bundle, "").variant).files[0]) in held.values()
        assert json.loads(held["classes.json"])["image"]["io"] == io
    assert compiled["nchw"] == pytest.approx(
        compiled["nhwc"], rel=0.02, abs=5e-3
    )  # an untrained model's edges: F is .05
