"""Simplify keeps its result only if nothing was added and nothing changed; otherwise its input, with the reason."""

import shutil
import sys
from pathlib import Path

import onnx
import pytest

from bundle.base.errors import ArtifactError
from bundle.base.isolated import module
from bundle.formats.artifacts import Exported, Simplified, load
from calibration.image_files import ImageFiles
from compile import simplify as stage
from compile.simplify import operators, simplify
from compile.stage.artifacts import Preparation, SimplifiedSettings
from compile.stage.graph_info import GRAPH_FILE, read_settings


def test_it_folds_constants_and_adds_nothing(exported: Exported, simplified: Simplified) -> None:
    before, after = operators(exported.file(GRAPH_FILE)), operators(simplified.file(GRAPH_FILE))
    assert read_settings(SimplifiedSettings, simplified).preparation == Preparation(outcome="simplified")
    assert after - before == {}
    assert sum(after.values()) <= sum(before.values())
    assert after["Gemm"] <= before["Gemm"] and after["MatMul"] == before["MatMul"]
    assert simplified.record.parent == exported.sha256


def test_it_keeps_names_and_leaves_no_metadata_of_the_tool(exported: Exported, simplified: Simplified) -> None:
    before, after = (onnx.load(artifact.file(GRAPH_FILE)) for artifact in (exported, simplified))
    assert {node.name for node in after.graph.node} <= {node.name for node in before.graph.node}
    assert not after.metadata_props


@pytest.mark.slow
@pytest.mark.parametrize("io", ["raw"], indirect=True)
def test_paths_are_those_of_the_folder_one_stands_in(
    exported: Exported, simplified: Simplified, images: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(exported.folder, tmp_path / "exported")
    monkeypatch.chdir(tmp_path)
    result = simplify(load(Exported, Path("exported")), Path("out/graph"), images, threads=1)
    assert read_settings(SimplifiedSettings, result).preparation.outcome == "simplified"
    assert result.sha256 == simplified.sha256


def refused(exported: Exported, images: ImageFiles, folder: Path) -> str:
    """Simplify; check that the input went on unchanged; return the reason."""
    result = simplify(exported, folder / "graph", images, threads=1)
    assert result.file(GRAPH_FILE).read_bytes() == exported.file(GRAPH_FILE).read_bytes()
    preparation = read_settings(SimplifiedSettings, result).preparation
    assert preparation.outcome == "kept"
    return preparation.reason


@pytest.mark.parametrize("io", ["raw"], indirect=True)
class TestRefusals:
    """Whatever goes wrong in the tool, the stage goes on without it and says why."""

    def use(self, monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
        """Let a process of our making stand in for onnxsim's."""
        worker = folder / "worker.py"
        worker.write_text(f"import sys, os, signal, onnx\nsource, target = sys.argv[-2:]\n{body}\n")
        monkeypatch.setattr(stage, "module", lambda name, *files: [sys.executable, str(worker), *files])

    def test_a_crash(
        self, exported: Exported, images: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.use(monkeypatch, tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)")
        assert "ended by signal 11" in refused(exported, images, tmp_path)

    def test_an_error(
        self, exported: Exported, images: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.use(monkeypatch, tmp_path, "raise RuntimeError('it said this')")
        assert "it said this" in refused(exported, images, tmp_path)

    @pytest.mark.slow
    def test_a_file_it_cannot_use_is_no_reason_to_go_on_without_it(
        self, exported: Exported, images: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nowhere = str(tmp_path / "nowhere.onnx")
        monkeypatch.setattr(stage, "module", lambda name, *files: module(name, nowhere, *files))
        with pytest.raises(ArtifactError, match="cannot use its files") as caught:
            simplify(exported, tmp_path / "graph", images, threads=1)
        assert "nowhere.onnx" in caught.value.got
        assert not (tmp_path / "graph").exists()

    def test_an_added_node(
        self, exported: Exported, images: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = "m = onnx.load(source); n = m.graph.node[0]; o = n.output[0]; n.output[0] = 'before'\n"
        body += "m.graph.node.insert(1, onnx.helper.make_node('Identity', ['before'], [o])); onnx.save(m, target)"
        self.use(monkeypatch, tmp_path, body)
        assert "adds 1 Identity" in refused(exported, images, tmp_path)

    def test_other_numbers(
        self, exported: Exported, images: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body = "m = onnx.load(source)\nfor i in m.graph.initializer:\n"
        body += "    a = onnx.numpy_helper.to_array(i)\n"
        body += (
            "    if a.dtype == 'float32' and a.ndim > 1: i.CopyFrom(onnx.numpy_helper.from_array(a * 1.001, i.name))\n"
        )
        body += "onnx.save(m, target)"
        self.use(monkeypatch, tmp_path, body)
        assert "changed what the model computes" in refused(exported, images, tmp_path)

    def test_a_hang(
        self, exported: Exported, images: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.use(monkeypatch, tmp_path, "import time; time.sleep(60)")
        monkeypatch.setattr(stage, "TIMEOUT_S", 0.2)
        assert "did not end" in refused(exported, images, tmp_path)
