"""A graph from anywhere as quantize's input."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest

from bundle.base.errors import ArtifactError, GraphError
from bundle.formats.artifacts import Exported, Simplified
from calibration.image_files import ImageFiles
from compile.fold import fold
from compile.graphs.load_onnx import import_graph, name_nodes, read_contract
from compile.quantization.dequantize import read_macs
from compile.quantization.ignored_nodes import ignored_nodes
from compile.stage.artifacts import Preparation, SimplifiedSettings
from compile.stage.graph_info import GRAPH_FILE, graph_info, read_settings
from targets.base import RunConfig
from targets.folding import rates_of
from targets.jetson.scheme import scheme as jetson_scheme
from targets.table import TARGETS
from tests.compile.made import quiet

NORMAL = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@pytest.mark.slow
def test_a_folded_folder_is_wrapped(simplified: Simplified, images: ImageFiles, tmp_path: Path) -> None:
    folded = fold(simplified, tmp_path / "f", images, "none", rates_of("reference"), quiet, threads=1)
    adopted = import_graph(folded.folder, tmp_path / "x", **NORMAL)
    assert adopted.record.parent == folded.sha256 and adopted.record.outputs == folded.record.outputs


def test_a_simplified_folder_is_taken_as_it_is(simplified: Simplified, tmp_path: Path) -> None:
    assert import_graph(simplified.folder, tmp_path / "x", mean=(0, 0, 0), std=(1, 1, 1)) == simplified
    assert not (tmp_path / "x").exists()


def test_an_exported_folder_keeps_its_own_contract(exported: Exported, tmp_path: Path) -> None:
    adopted = import_graph(exported.folder, tmp_path / "x", mean=(0, 0, 0), std=(1, 1, 1))
    assert graph_info(adopted) == graph_info(exported)
    assert adopted.record.parent == exported.sha256


def test_a_bare_file_is_read_for_what_it_takes_and_gives(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "some.onnx"
    shutil.copyfile(exported.file(GRAPH_FILE), path)
    read = read_contract(path, **NORMAL)
    assert read.io == graph_info(exported).io and read.preprocess == graph_info(exported).preprocess
    assert list(read.tasks) == list(graph_info(exported).tasks)
    if read.io == "raw":  # the channels of a label map cannot be read from an edge graph
        assert read == graph_info(exported)


@pytest.mark.parametrize("io", ["raw"], indirect=True)
def test_weights_in_a_file_of_their_own_come_along(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "from" / "some.onnx"
    path.parent.mkdir()
    whole = onnx.load(exported.file(GRAPH_FILE))
    onnx.save(whole, path, save_as_external_data=True, location="some.data", size_threshold=0)
    adopted = import_graph(path, tmp_path / "x", **NORMAL)
    assert [file.name for file in sorted(adopted.folder.iterdir())] == ["artifact.json", GRAPH_FILE]
    (tmp_path / "from" / "some.data").unlink()
    arrays = [
        {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
        for model in (onnx.load(exported.file(GRAPH_FILE)), onnx.load(adopted.file(GRAPH_FILE)))
    ]
    assert arrays[0].keys() == arrays[1].keys()
    assert all(np.array_equal(array, arrays[1][name]) for name, array in arrays[0].items())
    with pytest.raises(GraphError, match="cannot be read as ONNX"):
        import_graph(path, tmp_path / "y", **NORMAL)
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize("io", ["raw"], indirect=True)
def test_another_input_is_refused(exported: Exported, tmp_path: Path) -> None:
    model = onnx.load(exported.file(GRAPH_FILE))
    for node in model.graph.node:
        node.input[:] = ["picture" if name == "image" else name for name in node.input]
    model.graph.input[0].name = "picture"
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(GraphError, match="no graph that can be quantized") as caught:
        read_contract(tmp_path / "other.onnx", **NORMAL)
    assert "picture" in caught.value.got


@pytest.mark.parametrize("io", ["raw"], indirect=True)
def test_a_dynamic_shape_is_refused(exported: Exported, tmp_path: Path) -> None:
    model = onnx.load(exported.file(GRAPH_FILE))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, tmp_path / "dynamic.onnx")
    with pytest.raises(GraphError) as caught:
        read_contract(tmp_path / "dynamic.onnx", **NORMAL)
    assert "static" in caught.value.expected


def test_a_graph_that_answers_nothing_is_refused(tmp_path: Path) -> None:
    graph = onnx.parser.parse_graph("g (float[1,3,8,8] image) => () { a = Relu (image) }")
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)]), tmp_path / "m.onnx")
    with pytest.raises(GraphError) as caught:
        read_contract(tmp_path / "m.onnx", **NORMAL)
    assert caught.value.expected == "an output"


@pytest.mark.parametrize("content", [b"", b"this is a text", None])
def test_what_is_no_onnx_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "file.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GraphError):
        read_contract(path, **NORMAL)


@pytest.mark.parametrize("content", ["{}", "not JSON"])
def test_a_broken_record_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "artifact.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"artifact\.json cannot be read"):
        import_graph(tmp_path, tmp_path / "x", **NORMAL)


def test_a_folder_without_a_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        import_graph(tmp_path, tmp_path / "x", **NORMAL)


def nameless(path: Path, where: Path, name: str) -> Path:
    """Write the graph at ``path`` again, every node called ``name``."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = name
    onnx.save(model, where / "nameless.onnx")
    return where / "nameless.onnx"


@pytest.mark.slow
@pytest.mark.parametrize("io", ["raw"], indirect=True)
@pytest.mark.parametrize("name", ["", "node"])
def test_nodes_without_names_of_their_own_get_some_and_keep_every_protection(
    exported: Exported, tmp_path: Path, name: str
) -> None:
    source = exported.file(GRAPH_FILE)
    adopted = import_graph(nameless(source, tmp_path, name), tmp_path / "x", **NORMAL)
    nodes = onnx.load(adopted.file(GRAPH_FILE)).graph.node
    assert len({node.name for node in nodes} - {""}) == len(nodes)
    assert read_settings(SimplifiedSettings, adopted).preparation.renamed == len(nodes) - bool(name)
    scheme = jetson_scheme(TARGETS["jetson"].capabilities(RunConfig(device="emulation")))
    scheme = scheme.model_copy(update={"ignored": ()})
    ours, theirs = (ignored_nodes(path, scheme) for path in (source, adopted.file(GRAPH_FILE)))
    assert list(ours.values()) == list(theirs.values()) and ours
    macs = [read_macs(path) for path in (source, adopted.file(GRAPH_FILE))]
    assert list(macs[0].values()) == list(macs[1].values())


@pytest.mark.slow
@pytest.mark.parametrize("io", ["raw", "edge"], indirect=True)
def test_our_own_graphs_are_taken_byte_for_byte(exported: Exported, tmp_path: Path) -> None:
    adopted = import_graph(exported.folder, tmp_path / "x", **NORMAL)
    assert adopted.file(GRAPH_FILE).read_bytes() == exported.file(GRAPH_FILE).read_bytes()
    assert read_settings(SimplifiedSettings, adopted).preparation == Preparation(outcome="imported")


def test_a_name_is_new_to_the_bodies_of_nodes_too() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[1] x, bool b) => (float[1] y)
    {
        h = Abs (x)
        [twice] t = Abs (h)
        [h] y = If (b) <
            then_branch = th () => (float[1] p) { [twice] p = Abs (t) },
            else_branch = el () => (float[1] q) { q = Neg (t) }
        >
    }
    """
    graph = onnx_ir.from_onnx_text(text).graph
    assert name_nodes(graph) == 3
    assert sorted(str(node.name) for node in graph.all_nodes()) == ["h", "h_1", "q", "twice", "twice_1"]
    assert name_nodes(graph) == 0
