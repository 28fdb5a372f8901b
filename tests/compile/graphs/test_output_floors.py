"""The size below which an output is too small to be measured against itself."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bundle.base.errors import GraphError
from compile.folding.proof import beyond, floors_of, worst
from compile.graphs.output_floors import FLOOR, comparison_floors, output_floors
from compile.stage.compare import compare, require, run_model

FEED = {"x": np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 4, 4, 4)}


def graph(body: str, stored: str = "") -> ir.Model:
    """A graph from x to y; ``stored`` are its initializers."""
    text = f'<ir_version: 9, opset_import: ["": 20]> g (float[1,4,4,4] x) => (float[1,4,4,4] y) {stored} {{ {body} }}'
    return ir.serde.deserialize_model(onnx.parser.parse_model(text))


@pytest.mark.parametrize(
    ("body", "scale"),
    [
        ("y = Sigmoid (x)", 1),
        ("a = Sigmoid (x)\n y = Relu (a)", 1),
        ("a = Mul (x, small)\n y = Relu (a)", 1e-6),
        ("a = Add (x, large)\n y = Sub (a, large)", 1001),
        ("a = Add (x, large)\n b = Sub (a, large)\n y = Mul (b, small)", 1001e-6),
        ("y = Conv (x, w)", 0.5e-6 * 2),
        ("y = LpNormalization (x)", None),
    ],
)
def test_an_output_has_the_scale_of_what_its_last_operators_could_give(body: str, scale: float | None) -> None:
    stored = "<float small = {0.000001}, float large = {1000.0}, float[4,4,1,1] w = {" + ", ".join(["5e-7"] * 16) + "}>"
    [floor] = output_floors(graph(body, stored), [FEED], threads=1).values()
    if scale is None:
        [answer] = run_model(graph(body, stored), [FEED], threads=1)
        scale = float(np.abs(answer["y"]).max())
    assert floor == pytest.approx(FLOOR * scale, rel=1e-5)


def judged(body: str, stored: str, factor: float, shift: float) -> None:
    """Require an answer y·factor + shift in the place of y."""
    [want] = run_model(graph(body, stored), [FEED], threads=1)
    got = {"y": (want["y"] * factor + shift).astype(np.float32)}
    require("convert", compare([got], [want]), lambda: comparison_floors(graph(body, stored), [FEED], threads=1))


FAINT = ("a = Sub (x, off)\n y = Sigmoid (a)", "<float off = {25.0}>")
TINY = ("y = Mul (x, off)", "<float off = {1e-9}>")
CANCELLED = ("a = Add (x, off)\n y = Sub (a, a)", "<float off = {1000.0}>")


def test_probabilities_near_zero_may_differ_by_rounding_and_not_by_more() -> None:
    judged(*FAINT, 1, 3e-11)
    with pytest.raises(GraphError, match="changed what the model computes"):
        judged(*FAINT, 1, 1e-4)


def test_an_output_of_zeros_may_differ_by_the_rounding_of_what_is_subtracted() -> None:
    judged(*CANCELLED, 1, 1e-4)
    with pytest.raises(GraphError) as caught:
        judged(*CANCELLED, 1, 1)
    assert "inf" in caught.value.got


def test_what_is_small_by_design_is_measured_against_itself() -> None:
    judged(*TINY, 1 + 1e-5, 0)
    for factor, shift in ((0.0, 0.0), (1.01, 0.0), (1.0, 1e-11)):
        with pytest.raises(GraphError, match="changed what the model computes"):
            judged(*TINY, factor, shift)


@pytest.mark.parametrize(("shift", "refused"), [(1e-12, False), (1e-8, True)])
def test_the_proof_of_a_fold_has_the_same_floor(shift: float, refused: bool) -> None:
    model = graph(*CANCELLED)
    measured = worst([({"y": np.zeros((1, 4))}, {"y": np.full((1, 4), shift)})])
    assert bool(beyond(measured, 1e-11, floors_of(model, [FEED]))) is refused


def test_a_graph_that_magnifies_rounding_is_compared_with_float32s_own_error() -> None:
    """``x`` loses digits beside 1e5: float32 is 1e-3 from NumPy's float64, which is the more exact answer."""
    text = "a = Add (x, large)\n b = Sub (a, large)\n y = Exp (b)"
    model = graph(text, "<float large = {100000.0}>")
    [want] = run_model(model, [FEED], threads=1)
    exact = {"y": np.exp(FEED["x"].astype(np.float64)).astype(np.float32)}
    assert 1e-3 < compare([exact], [want])[0].relative < 1e-2
    require("convert", compare([exact], [want]), lambda: comparison_floors(model, [FEED], threads=1))
    with pytest.raises(GraphError, match="changed what the model computes"):
        require(
            "convert",
            compare([{"y": want["y"] * np.float32(1.1)}], [want]),
            lambda: comparison_floors(model, [FEED], threads=1),
        )
