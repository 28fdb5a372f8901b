"""Engines by Torch-TensorRT: what can be checked without a CUDA device. No engine is made here."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bundle.base.errors import ArtifactError, GraphError, TargetUnavailable
from bundle.formats.artifacts import Folded, Simplified, load
from calibration.image_files import ImageFiles
from compile import torch_engine
from compile.fold import fold
from compile.stage.compare import run_graph
from compile.stage.graph_info import GRAPH_FILE, INPUT, graph_info
from compile.stage.store import seal
from compile.torch_engine import convert_bundle, converter_arguments, folded_module, require_parent, typed_program
from targets.folding import rates_of
from targets.jetson.builder import BuilderConfig
from targets.jetson.scheme import F16, INT8
from tests.bundle.made import make_bundle
from tests.compile import made as tiny
from tests.compile.made import quiet


class Block(nn.Module):
    """A product, a LayerNorm and a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.linear(x)).softmax(-1)


def exported(fp16: bool) -> tuple[dict[str, torch.dtype], torch.Tensor, torch.Tensor]:
    """The type of each operator's result in the exported program, its output, and the module's own."""
    torch.manual_seed(0)
    block, x = Block().eval(), torch.randn(2, 8)
    program = typed_program(block, x, fp16=fp16)
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    types = {str(node.target): node.meta["val"].dtype for node in nodes if "val" in node.meta}
    with torch.no_grad():
        return types, program.module()(x), block(x)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # torch's own, while it exports
def test_precision_is_in_the_exported_graph() -> None:
    types, output, exact = exported(fp16=True)
    assert types["aten.linear.default"] == torch.float16
    assert output.dtype == torch.float32 and 0 < (output - exact).abs().max() < 1e-3
    types, output, exact = exported(fp16=False)
    assert set(types.values()) == {torch.float32} and torch.equal(output, exact)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # torch's own, while it exports
def test_the_module_that_is_converted_answers_as_the_folded_graph(
    simplified: Simplified, images: ImageFiles, tmp_path: Path
) -> None:
    folded = fold(simplified, tmp_path / "f", images, "cost", rates_of("reference"), quiet, threads=1)
    info, module = graph_info(folded), folded_module(folded)
    feed = info.feed(tiny.image(5))
    [want] = run_graph(folded.file(GRAPH_FILE), info, [feed], exact=False, threads=1)
    example = torch.from_numpy(feed[INPUT])
    with torch.no_grad():
        eager, program = module(example), typed_program(module, example, fp16=False).module()(example)
    for name, one, other in zip(info.tasks, eager, program, strict=True):
        assert np.abs(one.numpy().astype(np.float64) - want[name]).max() < 1e-4
        assert torch.equal(one, other)


def test_each_version_gets_the_arguments_it_knows() -> None:
    def old(program, arg_inputs, *, workspace_size=0, disable_tf32=False, use_explicit_typing=False) -> bytes: ...
    def new(program, arg_inputs, *, workspace_size=0, disable_tf32=False, optimization_level=None, **more) -> bytes: ...

    config = BuilderConfig(builder="torch-tensorrt", workspace_mib=64)
    assert converter_arguments(old, config) == {
        "workspace_size": 64 << 20,
        "disable_tf32": True,
        "use_explicit_typing": True,
    }
    assert converter_arguments(new, config) == {
        "workspace_size": 64 << 20,
        "disable_tf32": True,
        "optimization_level": 3,
    }


def test_what_it_cannot_do_is_refused(tmp_path, monkeypatch) -> None:
    (tmp_path / "folded").mkdir()
    (tmp_path / "folded" / "model.onnx").write_text("")
    seal(Folded, tmp_path / "folded", tools={})
    folded = load(Folded, tmp_path / "folded")
    bundle = make_bundle(tmp_path / "made", count=2)
    made = bundle.manifest.variants[0]

    def with_recipe(recipe, parents):
        variant = made.model_copy(update={"recipe": {k: str(v) for k, v in recipe.model_dump().items()}})
        manifest = bundle.manifest.model_copy(update={"variants": (variant,), "parents": parents})
        return bundle.model_copy(update={"manifest": manifest})

    with pytest.raises(GraphError, match="no quantized engine"):
        convert_bundle(with_recipe(INT8, {}), folded, "f32", workspace_mib=64)
    with pytest.raises(ArtifactError, match="is not this bundle's"):
        convert_bundle(with_recipe(F16, {"folded": "0" * 64}), folded, "f32", workspace_mib=64)
    right = with_recipe(F16, {Folded.kind: folded.sha256})
    require_parent(right.manifest, load(Folded, folded.folder))
    monkeypatch.setattr(torch_engine, "PROBE", "raise ImportError('no torch_tensorrt')")
    with pytest.raises(TargetUnavailable, match="torch-tensorrt cannot be used here") as caught:
        convert_bundle(right, folded, "f32", workspace_mib=64)
    assert "no torch_tensorrt" in caught.value.got
    assert "for Orin there has been none since 2.8" in caught.value.fix
