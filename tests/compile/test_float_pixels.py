"""The interfaces ``nchw`` and ``nhwc`` through the stages: float32 at both ends, of the FP16 graph too, on each runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from bundle.formats.io_forms import Io, prediction
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from compile.graphs.fp16 import write_fp16, write_ranges
from compile.stage.graph_info import GRAPH_FILE
from targets.base import RunConfig, Variant, VariantRecipe
from targets.table import target
from tests.compile import made
from tests.compile.conftest import FirstStages

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
