"""The exported graph: its operators, its names, its numbers, and what must not be in it."""

import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bundle.base.errors import DatasetError, GraphError
from bundle.formats.artifacts import Exported
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from calibration.image_files import ImageFiles
from compile.export import export_module
from compile.graphs.torch_export import OPSET
from compile.stage.artifacts import ExportedSettings
from compile.stage.compare import run_graph
from compile.stage.graph_info import GRAPH_FILE, graph_info, read_settings
from tests.compile import made

ROOT = Path(__file__).resolve().parents[2]


def graph_of(exported: Exported) -> onnx.ModelProto:
    """The exported model."""
    return onnx.load(exported.file(GRAPH_FILE))


def test_it_is_plain_onnx_of_opset_20_with_native_layer_norm_and_gelu(exported: Exported) -> None:
    model = graph_of(exported)
    operators = [node.op_type for node in model.graph.node]
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert not model.functions
    blocks = sum(made.CONFIG.backbone.depths)
    merges = len(made.CONFIG.backbone.depths) - 1
    assert operators.count("LayerNormalization") == 1 + 2 * blocks + merges
    assert operators.count("Gelu") == 2 * blocks  # an MLP and a skill bank each
    assert not {"Erf", "BatchNormalization", "Identity"} & set(operators)


def test_its_interface_is_static_and_named_by_task(exported: Exported) -> None:
    info = graph_info(exported)
    model = graph_of(exported)
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == list(made.TASKS)
    assert (exported.record.inputs, exported.record.outputs) == info.interface


def test_no_local_path_is_left_and_no_metadata_but_scopes(exported: Exported) -> None:
    content = exported.file(GRAPH_FILE).read_bytes()
    for secret in (str(ROOT), str(Path.home()), sys.prefix, "site-packages", ".py", "stack_trace", "/tmp"):
        assert secret.encode() not in content
    model = graph_of(exported)
    keys = {entry.key for node in model.graph.node for entry in node.metadata_props}
    assert keys == {"scope"}
    assert not model.metadata_props and not model.graph.metadata_props
    assert not model.producer_name and not model.doc_string


def test_nodes_carry_their_module_and_are_unique(exported: Exported) -> None:
    names = [node.name for node in graph_of(exported).graph.node]
    assert len(set(names)) == len(names)
    assert "backbone.stages.0.blocks.0.norm1/LayerNormalization" in names
    gates = [name for name in names if re.match(r"adapter\.stages\.1\.blocks\.0\..*gate", name)]
    assert any(name.endswith("/Softmax") for name in gates)


def test_it_computes_what_the_model_does(exported: Exported) -> None:
    info, image = graph_info(exported), made.image(77)
    with torch.no_grad():
        raw = made.model()(torch.from_numpy(info.preprocess.apply(image)))
    [answer] = run_graph(exported.file(GRAPH_FILE), info, [info.feed(image)], exact=False, threads=1)
    for name, output in raw.items():
        expected = output[0].numpy() if info.io == "raw" else predict(task(name), output[0].numpy())
        assert np.abs(answer[name][0].astype(np.float64) - expected).max() < 1e-4


def test_the_check_is_recorded(exported: Exported) -> None:
    check = read_settings(ExportedSettings, exported).check
    assert [error.output for error in check] == list(made.TASKS)


def test_a_model_with_an_operator_outside_onnx_is_refused(tmp_path: Path, images: ImageFiles) -> None:
    class Wrong(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"depth": image[:, :1]}

    info = made.INFO["raw"].model_copy(update={"tasks": {"depth": 2}})
    with pytest.raises(GraphError, match="inputs or outputs"):
        export_module(Wrong(), info, tmp_path / "out", images, parent=None, threads=1)
    assert list(tmp_path.iterdir()) == []


def test_an_image_of_another_size_is_refused_by_name(tmp_path: Path, images: ImageFiles) -> None:
    larger = made.INFO["raw"].preprocess.model_copy(update={"height": 64})
    info = made.INFO["raw"].model_copy(update={"preprocess": larger})
    with pytest.raises(DatasetError, match="wrong size") as caught:
        export_module(made.model(), info, tmp_path / "out", images, parent=None, threads=1)
    assert "c0.png" in caught.value.where
