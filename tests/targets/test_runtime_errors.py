"""A runtime's own error in the middle of a graph, wherever a stage runs one: said as such, never as a fault of this program."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from bundle.base.errors import SessionFailed
from bundle.judging.session_timeout import guarded
from compile.stage.compare import open_graph

HEAD = '<ir_version: 9, opset_import: ["": 20]>\nsome (float[1,3,8,8] image) => (float[1,3,8,8] semseg) '
GATHERED = HEAD + "<int64[3] far> { semseg = Gather<axis=1> (image, far) }"


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
