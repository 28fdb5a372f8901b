"""Evaluation in float64: the same numbers as ONNX Runtime's to float32, of outputs and of inner values."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from bundle.base.errors import GraphError
from bundle.formats.artifacts import Simplified
from compile.graphs.io_wrappers import RawModel
from compile.graphs.pytorch.evaluate import evaluate
from compile.graphs.torch_export import OPSET, quiet_export
from compile.stage.compare import run_graph
from compile.stage.graph_info import GRAPH_FILE, INPUT, graph_info
from tests.compile import made


@pytest.mark.slow
def test_a_model_gives_the_runtimes_numbers(simplified: Simplified) -> None:
    path, info = simplified.file(GRAPH_FILE), graph_info(simplified)
    feed = info.feed(made.image(0))
    [reference] = run_graph(path, info, [feed], exact=True, threads=1)
    found = evaluate(ir.load(path), feed)
    assert list(found) == list(reference)
    for name, array in reference.items():
        if np.issubdtype(array.dtype, np.floating):
            assert found[name].dtype == np.float64
            assert np.abs(found[name] - array).max() <= 1e-5 * np.abs(array).max()
        else:
            assert np.mean(found[name] != array) < 1e-3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # torch's own, while it exports
def test_a_model_in_float64_gives_eager_pytorchs_numbers() -> None:
    """Exported in float64, or the exporter's own constants (a static gate, a scale) would be float32; ε is in any graph."""
    model, info = made.model().double(), made.INFO["raw"]
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = float(np.float32(module.eps))
    image = torch.tensor(info.feed(made.image(0))[INPUT]).double()
    with quiet_export(), torch.no_grad():
        program = torch.onnx.export(RawModel(model).eval(), (image,), dynamo=True, opset_version=OPSET, verbose=False)
        eager = model(image)
    assert program is not None
    [name] = [value.name for value in program.model.graph.inputs]
    found = evaluate(program.model, {name: image.numpy()})
    for got, wanted in zip(found.values(), eager.values(), strict=True):
        assert np.abs(got - wanted.numpy()).max() <= 1e-12 * wanted.abs().max().item()


CHAIN = """<ir_version: 9, opset_import: ["" : 20]>
g (float[2, 3] x) => (float[2, 3] y) <float[3] c = {1.0, 2.0, 3.0}> { a = Exp(x) b = Mul(a, c) y = Log(b) }"""


def test_inner_values_can_be_asked_for_and_given() -> None:
    model, x = ir.from_onnx_text(CHAIN), np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    c, wide = np.array([1.0, 2.0, 3.0]), x.astype(np.float64)
    found = evaluate(model, {"x": x}, ["b", "c", "x"])
    np.testing.assert_allclose(found["b"], np.exp(wide) * c, rtol=1e-15)
    assert found["c"].tolist() == [1, 2, 3] and np.array_equal(found["x"], wide)
    np.testing.assert_allclose(evaluate(model, {"a": wide + 2})["y"], np.log((wide + 2) * c), rtol=1e-14)


@pytest.mark.parametrize(
    ("feeds", "outputs", "message"),
    [
        ({"x": np.zeros((2, 3))}, ["z"], "no value 'z'"),
        ({"z": np.zeros((2, 3))}, ["y"], "no value 'z'"),
        ({"x": np.zeros((3, 2))}, ["y"], "another shape"),
        ({}, ["y"], "'x' is needed"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_named(feeds, outputs, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        evaluate(ir.from_onnx_text(CHAIN), feeds, outputs)


def test_half_precision_is_computed_in_float64() -> None:
    """A cast to FP16 rounds nothing, and a constant of FP16 is widened."""
    text = """<ir_version: 9, opset_import: ["" : 20]>
    g (float[2] x) => (float[2] y) <float16[2] c = {16896, 11878}> {
        a = Cast <to = 10> (x) b = Mul (a, c) d = Add(b, b) y = Cast <to = 1> (d) }"""
    x = np.array([1 / 3, 1e-9])
    found = evaluate(ir.from_onnx_text(text), {"x": x})["y"]
    np.testing.assert_array_equal(found, 2 * x * np.array([3, np.float16(0.1)], np.float64))


def test_an_unknown_operator_is_named() -> None:
    text = """<ir_version: 9, opset_import: ["" : 20, "com.microsoft" : 1]>
    g (float[2] x) => (float[2] y) { [first] a = Relu (x) [odd] y = OPERATOR (a) }"""
    for name, shown in (("NonZero", "NonZero"), ("com.microsoft.FusedGelu", "com.microsoft::FusedGelu")):
        with pytest.raises(GraphError, match=f"operator {shown} of opset 20 cannot be computed here") as caught:
            evaluate(ir.from_onnx_text(text.replace("OPERATOR", name)), {"x": np.zeros(2)})
        assert "'odd'" in caught.value.where and "LayerNormalization" in caught.value.expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y = MatMul (x, x)", "MatMul cannot be computed here"),
        ("y = Reshape (x, x)", "it has to be a constant"),
        ("y = Relu <alpha = 1.0> (x)", "attributes that are not known: alpha"),
        ("y, i = MaxPool <kernel_shape = [1]> (x)", "only the first 1 of its outputs"),
        ("y = Slice (x, s, s, s, z)", "step"),
    ],
)
def test_a_form_that_is_not_computed_is_named(body: str, message: str) -> None:
    text = f"""<ir_version: 9, opset_import: ["" : 20]>
    g (float[1, 2, 3] x) => (float[1, 2, 3] y) <int64[1] s = {{0}}, int64[1] z = {{0}}> {{ [it] {body} }}"""
    with pytest.raises(GraphError, match=message) as caught:
        evaluate(ir.from_onnx_text(text), {"x": np.zeros((1, 2, 3))})
    assert caught.value.where == "node 'it'"


def test_shapes_that_a_graph_computes_are_known() -> None:
    """As an export of dynamic axes has it: a Reshape to what Shape, Gather and Concat say."""
    text = """<ir_version: 9, opset_import: ["" : 20]>
    g (float["n", 2, 6] x) => (y) <int64[1] zero = {0}, int64[1] last = {-1}> {
        s = Shape (x) n = Gather (s, zero) t = Concat <axis = 0> (n, last) r = Reshape (x, t) f = Cast <to = 1> (n)
        y = Div (r, f) }"""
    x = np.arange(24.0).reshape(2, 2, 6)
    np.testing.assert_array_equal(evaluate(ir.from_onnx_text(text), {"x": x})["y"], x.reshape(2, 12) / 2)
