"""Outlier channels change a tensor's range and not the answer."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from bundle.base.errors import GraphError
from studies.quantization.outlier_injection import inject_outliers, norms_before_products

TEXT = """<ir_version: 9, opset_import: ["": 19]>
made (float[1,4,6] x) => (float[1,4,5] y, float[1,4,5] z, float[1,4,6] skip)
<float[6] g = {1.0,1.0,1.0,1.0,1.0,1.0}, float[6] o = {0.1,0.1,0.1,0.1,0.1,0.1}, float[6,5] w = {%s}> {
  [norm] n = LayerNormalization <axis = -1> (x, g, o)
  [left] y = MatMul (n, w)
  [right] z = MatMul (n, w)
  [other] skip = LayerNormalization <axis = -1> (x, g, o)
}"""


def test_the_answer_stays_and_the_range_grows() -> None:
    weights = np.random.default_rng(0).normal(size=30)
    model = ir.from_onnx_text(TEXT % ", ".join(f"{one:.5f}" for one in weights))
    assert norms_before_products(model) == ("norm",)
    x = np.random.default_rng(1).normal(size=(1, 4, 6)).astype(np.float32)
    before = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    assert inject_outliers(model, ["norm"], channels=2, factor=64.0, seed=0) == 2
    after = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    scale = model.graph.node("norm").inputs[1]
    assert scale is not None and scale.const_value is not None
    assert sorted(scale.const_value.numpy().tolist()) == [1.0] * 4 + [64.0] * 2


def ones() -> str:
    """The graph above with weights of 1."""
    return TEXT % ", ".join(["1.0"] * 30)


@pytest.mark.parametrize(
    ("text", "name", "got"),
    [
        (ones(), "nothing", "no such layer norm"),
        (ones(), "other", "its output leaves the graph"),
        (ones().replace("float[1,4,6] skip)", "float[1,4,6] n)"), "norm", "its output leaves the graph"),
        (ones().replace("MatMul (n, w)\n  [other]", "Relu (n)\n  [other]"), "norm", "it is read by ['MatMul', 'Relu']"),
        (
            ones().replace("x) =>", "x, float[6] s) =>").replace("(x, g, o)", "(x, s, o)"),
            "norm",
            "its scale is computed",
        ),
        (
            ones().replace("x) =>", "x, float[6] t) =>").replace("(x, g, o)", "(x, g, t)"),
            "norm",
            "its offset is computed",
        ),
    ],
)
def test_a_norm_that_cannot_take_outliers_is_refused_and_not_offered(text: str, name: str, got: str) -> None:
    model = ir.from_onnx_text(text)
    assert name not in norms_before_products(model)
    with pytest.raises(GraphError, match=f"'{name}' cannot") as caught:
        inject_outliers(model, [name], channels=1, factor=8.0, seed=0)
    assert caught.value.got == got


def test_a_norm_without_an_offset_takes_outliers() -> None:
    model = ir.from_onnx_text(ones().replace("(x, g, o)", "(x, g)"))
    assert norms_before_products(model) == ("norm",)
    assert inject_outliers(model, ["norm"], channels=2, factor=4.0, seed=0) == 2
