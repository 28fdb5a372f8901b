"""The module of an ONNX file: in eager mode and through ``torch.export`` it gives what ONNX Runtime gives."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from bundle.base.errors import GraphError
from bundle.formats.artifacts import Simplified
from compile.graphs.pytorch.constants import AS_WRITTEN
from compile.graphs.pytorch.convert import to_module
from compile.graphs.pytorch.read import read_module
from compile.stage.compare import run_graph
from compile.stage.graph_info import GRAPH_FILE, INPUT, graph_info
from compile.torch_engine import typed_program
from tests.compile import made
from tests.compile.graphs.passes.made import graph, run

QUIET = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::DeprecationWarning"
)  # torch's own, while it exports


@pytest.mark.slow
@QUIET
def test_its_export_gives_the_runtimes_numbers(simplified: Simplified) -> None:
    """``typed_program`` is how torch-tensorrt gets a module."""
    path, info = simplified.file(GRAPH_FILE), graph_info(simplified)
    feed = info.feed(made.image(0))
    [reference] = run_graph(path, info, [feed], exact=True, threads=1)
    module, image = read_module(path).eval(), torch.tensor(feed[INPUT])
    program = typed_program(module, image, fp16=False)
    with torch.no_grad():
        eager, exported = module(image), program.module()(image)
    assert len(eager) == len(exported) == len(reference)
    for one, two, wanted in zip(eager, exported, reference.values(), strict=True):
        assert torch.equal(one, two) and str(one.dtype) == f"torch.{wanted.dtype}"
        if one.is_floating_point():
            assert np.abs(one.numpy() - wanted).max() <= 1e-5 * np.abs(wanted).max()
        else:
            assert np.mean(one.numpy() != wanted) < 1e-3


@pytest.mark.slow
@QUIET
def test_its_casts_are_in_the_exported_graph(simplified: Simplified) -> None:
    path, info = simplified.file(GRAPH_FILE), graph_info(simplified)
    image = torch.tensor(info.feed(made.image(0))[INPUT])
    program = typed_program(read_module(path).eval(), image, fp16=True)
    types = {
        node.meta["val"].dtype
        for node in program.graph.nodes
        if str(node.target) in ("aten.mm.default", "aten.matmul.default")
    }
    assert types == {torch.float16}


MADE_INSIDE = {
    "resize by matrices": 'y = Resize <mode = "cubic", coordinate_transformation_mode = "asymmetric"> (x, , s)',
    "resize by indices": 'y = Resize <mode = "nearest"> (x, , s)',
    "windows of unlike padding": "y = AveragePool <kernel_shape = [3, 3], pads = [1, 0, 2, 1], dilations = [1, 2]> (x)",
    "a mirror": 'y = Pad <mode = "reflect"> (x, p)',
    "a slice backwards": "y = Slice (x, m, f, two, m)",
    "a gather from the end": "y = Gather <axis = 2> (x, m)",
}


@pytest.mark.slow
@QUIET
@pytest.mark.parametrize("name", MADE_INSIDE)
def test_constants_that_a_call_makes_are_exported(name: str) -> None:
    constants = (
        "float[4] s = {1, 1, 1.5, 0.6}, int64[8] p = {0, 0, 1, 2, 0, 0, 2, 1}, int64[1] m = {-1}, int64[1] f = {-4}, "
        "int64[1] two = {2}"
    )
    model = graph(f"g (float[1, 2, 6, 7] x) => (y) <{constants}> {{ {MADE_INSIDE[name]} }}")
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 2, 6, 7)).astype(np.float32))
    module = to_module(model, {"x": x}, ["y"], AS_WRITTEN)
    assert torch.equal(typed_program(module, x, fp16=False).module()(x)[0], module(x)[0])
    np.testing.assert_allclose(module(x)[0].numpy(), run(model, x=x.numpy())[0], atol=2e-6)


def test_weights_have_the_graphs_names(simplified: Simplified) -> None:
    path = simplified.file(GRAPH_FILE)
    floats = {
        str(value.name)
        for value in ir.load(path).graph.initializers.values()
        if value.dtype == ir.DataType.FLOAT and any(True for _ in value.uses())
    }
    module = read_module(path)
    parameters = dict(module.named_parameters())
    assert len(parameters) > 20 and set(parameters) == floats
    assert not any(parameter.requires_grad for parameter in parameters.values())


def test_a_gradient_reaches_the_weights() -> None:
    """Later tuning needs it: the calls are ordinary PyTorch."""
    model = graph("g (float[2, 3] x) => (y) <float[3, 1] w = {1, -0.5, 0.25}> { a = MatMul (x, w) y = Gelu (a) }")
    module = to_module(model, {"x": torch.empty(2, 3)}, ["y"], AS_WRITTEN)
    weight = module.get_parameter("w").requires_grad_()
    x = torch.tensor([[1.0, 2, 3], [4, 9, 1]])
    module(x)[0].sum().backward()
    a = (x @ weight).detach().requires_grad_()
    nn.functional.gelu(a).sum().backward()
    assert a.grad is not None
    torch.testing.assert_close(weight.grad, x.t() @ a.grad)


@pytest.mark.parametrize(
    "names", [("a.b", "a.b.c"), ("a.b.c", "a.b"), ("half", "code.x"), ("a..b", "a.b"), ("a/b-1", "0.1")]
)
def test_names_that_a_module_cannot_have_are_changed(names: tuple[str, str]) -> None:
    """A weight's name may run through another's, or be a method's."""
    model = graph("g (float[2] x) => (y) <float[2] p = {1, 2}, float[2] q = {3, 5}> { a = Mul (x, p) y = Add (a, q) }")
    for value, name in zip(list(model.graph.initializers.values()), names, strict=True):
        value.name = name
    module = to_module(model, {"x": torch.empty(2)}, ["y"], AS_WRITTEN)
    assert module(torch.tensor([1.0, 1.0]))[0].tolist() == [4, 7]
    assert len(module.state_dict()) == 2


def test_an_input_of_open_shape_is_refused(tmp_path: Path) -> None:
    ir.save(graph('g (float["n", 2] x) => (float["n", 2] y) { y = Relu (x) }'), tmp_path / "open.onnx")
    with pytest.raises(GraphError, match=r"input 'x' of open\.onnx cannot be given"):
        read_module(tmp_path / "open.onnx")
