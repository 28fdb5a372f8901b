"""The rewrite stage: the target's rewrites, counted by site, proven on images, names and order of outputs kept."""

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from bundle.base.errors import GraphError
from bundle.formats.artifacts import Folded, Simplified
from calibration.image_files import ImageFiles
from compile.fold import fold
from compile.graphs.passes import table
from compile.rewrite import rewrite
from compile.stage.artifacts import FoldedSettings, SimplifiedSettings
from compile.stage.graph_info import GRAPH_FILE, read_settings
from studies.rewrites import CANDIDATES
from targets.folding import rates_of
from tests.compile.made import quiet


@pytest.fixture(scope="module")
def folded(simplified: Simplified, images: ImageFiles, tmp_path_factory: pytest.TempPathFactory) -> Folded:
    """The tiny model, nothing of it folded: every rewrite still finds its sites."""
    return fold(
        simplified, tmp_path_factory.mktemp("folded") / "graph", images, "none", rates_of("reference"), quiet, threads=1
    )


@pytest.fixture(scope="module")
def rewritten(folded: Folded, images: ImageFiles, tmp_path_factory: pytest.TempPathFactory) -> Simplified:
    """The tiny model with every rewrite."""
    return rewrite(folded, tmp_path_factory.mktemp("rewritten") / "graph", CANDIDATES, images, threads=1)


def test_it_says_what_ran_and_where(rewritten: Simplified, folded: Folded) -> None:
    settings = read_settings(SimplifiedSettings, rewritten)
    sites = settings.rewrites
    assert tuple(sites) == CANDIDATES
    assert sites["mix_before_resize"] == 6 and sites["gather_windows"]
    assert rewritten.record.parent == folded.sha256
    assert settings.preparation == read_settings(FoldedSettings, folded).preparation


def test_outputs_keep_names_order_and_shapes(rewritten: Simplified, folded: Folded) -> None:
    before, after = (onnx.load(one.file(GRAPH_FILE)).graph for one in (folded, rewritten))
    assert list(after.output) == list(before.output) and list(after.input) == list(before.input)
    assert rewritten.record.outputs == folded.record.outputs


def test_without_rewrites_the_graph_is_the_same(folded: Folded, images: ImageFiles, tmp_path: Path) -> None:
    kept = rewrite(folded, tmp_path / "graph", (), images, threads=1)
    assert read_settings(SimplifiedSettings, kept).rewrites == {}
    before, after = (onnx.load(one.file(GRAPH_FILE)).graph for one in (folded, kept))
    assert list(before.node) == list(after.node)


@pytest.mark.parametrize("io", ["raw"], indirect=True)
def test_a_rewrite_that_computes_something_else_is_refused(
    folded: Folded, images: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(model: ir.Model) -> tuple[ir.Model, int]:
        node = next(node for node in model.graph if node.op_type == "Gelu")
        node.op_type = "Relu"
        node.attributes.clear()
        return model, 1

    monkeypatch.setattr(table, "PASSES", {**table.PASSES, "spoil": spoil})
    with pytest.raises(GraphError, match="rewrite changed what the model computes"):
        rewrite(folded, tmp_path / "graph", ("spoil",), images, threads=1)
    assert not (tmp_path / "graph").exists()
