"""A runtime's own error in the middle of a graph, wherever a stage runs one: said as such, never as a fault of this program."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from bundle.base.errors import SessionFailed
from bundle.judging.session_timeout import guarded
from compile.stage.compare import open_graph
from targets.base import RunConfig, Variant, VariantRecipe
from targets.intel.target import INTEL

HEAD = '<ir_version: 9, opset_import: ["": 20]>\nsome (float[1,3,8,8] image) => (float[1,3,8,8] semseg) '
GATHERED = HEAD + "<int64[3] far> { semseg = Gather<axis=1> (image, far) }"

# Expand gets a width of 33 where a pixel is brighter than the limit, and 32 cannot become 33.
BREAKS = """<ir_version: 9, opset_import: ["": 20]>
breaks (float[1,3,24,32] image) => (float[1,3,24,32] kept)
<float limit = {1}, int64[3] head = {1,3,24}, int64[1] width = {32}, int64[4] all = {1,3,24,32}, int64[1] axis = {0}>
{
  most = ReduceMax<keepdims = 0> (image)
  bright = Greater (most, limit)
  one = Cast<to = 7> (bright)
  more = Unsqueeze (one, axis)
  wide = Add (width, more)
  shape = Concat<axis = 0> (head, wide)
  grown = Expand (image, shape)
  kept = Reshape (grown, all)
}
"""


def save(path: Path) -> Path:
    """Save a graph that is valid by its shapes and cannot be computed: it reads channels 5 to 7 of three."""
    model = parser.parse_model(GATHERED)
    del model.graph.initializer[:]
    model.graph.initializer.append(numpy_helper.from_array(np.array([5, 6, 7]), "far"))
    onnx.save(model, path)
    return path


def test_an_error_while_a_graph_runs_is_the_runtimes(tmp_path: Path) -> None:
    feed = {"image": np.zeros((1, 3, 8, 8), np.float32)}
    with open_graph(save(tmp_path / "g.onnx"), exact=True, threads=1) as session:
        for run in (session.infer, session.timed, lambda fed: session.start(fed)()):
            with pytest.raises(SessionFailed, match="failed while it ran the graph") as caught:
                run(feed)
            assert "out of data bounds" in caught.value.got
        for limit in (0.0, 60.0):
            with pytest.raises(SessionFailed, match="failed on image 'c0'") as caught:
                guarded(session.infer, "c0", limit)(feed)
            assert "out of data bounds" in caught.value.got


def test_an_error_of_openvino_is_raised_by_each_way_to_run(tmp_path: Path) -> None:
    """``InferRequest.infer`` of OpenVINO 2026.4 returns as if nothing was wrong, with what its arrays held before."""
    onnx.save(parser.parse_model(BREAKS), tmp_path / "g.onnx")
    files = INTEL.convert(tmp_path / "g.onnx", tmp_path / "g.xml")
    recipe = VariantRecipe(name="f32", graph="float", hint="f32", reason="a test")
    variant, dark = Variant(recipe=recipe, files=files), np.zeros((1, 3, 24, 32), np.float32)
    with INTEL.open(tmp_path, variant, RunConfig(threads=1), "device", keep=tmp_path) as session:
        for run in (session.infer, session.timed, lambda fed: session.start(fed)()):
            run({"image": dark})
            with pytest.raises(SessionFailed, match="failed while it ran the graph") as caught:
                run({"image": dark + 2})
            assert "shape infer" in caught.value.got
