"""The operator and type table."""

import onnx_ir as ir
import pytest

from compile.tensorrt_checks.operators import VERSIONS
from compile.tensorrt_checks.run import lint_model
from tests.compile.tensorrt_checks.rules.made import GOOD, broken, lint, parse

ONE = "g (float[2,8] x) => (float[2,8] y) { y = OP }"


@pytest.mark.parametrize("operation", ["Det (x)", "Bernoulli (x)", "NoSuchOperator (x)"])
def test_an_operator_the_parser_does_not_know(operation: str) -> None:
    [finding] = lint(ONE.replace("OP", operation))
    assert (finding.rule, finding.severity) == ("known-operator", "error")
    assert operation.split(" ")[0] in finding.effect


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("g (uint8[1,4,4,3] x) => (uint8[1,3,4,4] y) { y = Transpose <perm = [0, 3, 1, 2]> (x) }", "UINT8"),
        ("g (bool[4] x) => (float[4] y) { y = Relu (x) }", "BOOL"),
        ("g (int64[4,4] x) => (int64[4,4] y) { y = MatMul (x, x) }", "INT64"),
    ],
)
def test_a_type_the_operator_does_not_take(text: str, word: str) -> None:
    [finding] = [finding for finding in lint(text) if finding.rule == "known-operator"]
    assert word in finding.effect and "Cast" in finding.fix


@pytest.mark.parametrize(
    ("attributes", "bad"),
    [
        ('mode = "cubic"', False),
        ('mode = "linear"', False),
        ('coordinate_transformation_mode = "tf_crop_and_resize"', True),
    ],
)
def test_the_modes_of_a_resize(attributes: str, bad: bool) -> None:
    text = f"g (float[1,2,4,4] x) => (float[1,2,8,8] y) <float[4] s = {{1, 1, 2, 2}}> {{ y = Resize <{attributes}> (x, , s) }}"
    assert broken(text) == (["known-operator"] if bad else [])


def test_an_int8_weight_that_is_cast_is_no_weight_for_tensorrt() -> None:
    text = GOOD.replace("v = DequantizeLinear <axis = 1> (w, ws, wz)", "f = Cast <to = 1> (w)\n    v = Mul (f, ws)")
    [finding] = [finding for finding in lint(text) if finding.rule == "known-operator"]
    assert finding.tensor == "w" and "not built" in finding.effect and "DequantizeLinear" in finding.fix


def test_a_second_output_that_something_reads() -> None:
    text = "g (float[1,2,4,4] x) => (float[1,2,2,2] y) { p, i = MaxPool <kernel_shape = [3, 3]> (x)\n f = Cast <to = 1> (i)\n y = Add (p, f) }"
    assert broken(text) == ["known-operator"]


def test_a_second_output_that_leaves_the_graph() -> None:
    text = "g (float[1,2,4,4] x) => (float[1,2,2,2] p, int64[1,2,2,2] i) { p, i = MaxPool <kernel_shape = [3, 3]> (x) }"
    [finding] = lint(text)
    assert (finding.rule, finding.tensor) == ("known-operator", "i")


def test_a_second_output_without_a_name_is_no_output() -> None:
    text = "g (float[1,2,4,4] x) => (float[1,2,2,2] p) { p, i = MaxPool <kernel_shape = [3, 3]> (x) }"
    model = parse(text)
    assert [finding.rule for finding in lint_model(model, "made").findings] == ["known-operator"]
    model.graph[0].outputs[1].name = ""
    assert lint_model(model, "made").findings == ()


def test_axes_that_are_computed() -> None:
    text = "g (float[2,8] x, int64[1] a) => (float[n, m] y) { y = ReduceSum (x, a) }"
    assert broken(text) == ["known-operator"]


def test_double_precision_is_narrowed() -> None:
    [finding] = lint("g (double[2,8] x) => (double[2,8] y) { y = Relu (x) }")
    assert (finding.rule, finding.severity) == ("narrowed-type", "warning")


@pytest.mark.parametrize(
    ("domain", "operator", "bad"), [("mine", "Swish", True), ("trt.plugins", "EfficientNMS_TRT", False)]
)
def test_a_custom_operator_needs_a_plugin(domain: str, operator: str, bad: bool) -> None:
    text = f'<ir_version: 10, opset_import: ["" : 20, "{domain}" : 1]>\ng (float[2] x) => (float[2] y) {{ y = {domain}.{operator} (x) }}'
    assert [finding.rule for finding in lint_model(ir.from_onnx_text(text), "made").findings] == (
        ["known-operator"] if bad else []
    )


def test_a_function_of_the_model_is_looked_into() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "mine" : 1]>
    g (float[2] x) => (float[2] y) { y = mine.swish (x) }
    <domain: "mine", opset_import: ["" : 20]>
    swish (a) => (b) { s = OP (a)  b = Mul (a, s) }"""
    assert lint_model(ir.from_onnx_text(text.replace("OP", "Sigmoid")), "made").findings == ()
    [finding] = lint_model(ir.from_onnx_text(text.replace("OP", "Det")), "made").findings
    assert "Det" in finding.effect


def test_the_body_of_an_if_is_looked_into() -> None:
    text = """g (float[2] x, bool c) => (float[2] y) {
        y = If (c) <then_branch = t () => (float[2] a) { a = Relu (x) }, else_branch = e () => (float[2] b) { b = Det (x) }>
    }"""
    assert broken(text) == ["known-operator"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("g (int64[4] x, int64[4] p) => (int64[4] y) { y = Pow (x, p) }", "10.13"),
        ('g (float[3,3] x) => (float[3] y) { y = Einsum <equation = "ii->i"> (x) }', "10.13"),
        ('g (float[1,3] x, float[2,3] w) => (float[2] y) { y = Einsum <equation = "ij,ij->i"> (x, w) }', "10.13"),
        ("g (float[2,8] x, float[8] w) => (float[2,8] y) { y = RMSNormalization (x, w) }", "10.16"),
        ("g (float[2,8] x) => (float[2,8] y) { y = Swish (x) }", "11"),
    ],
)
def test_what_later_parsers_learnt(text: str, version: str) -> None:
    found = {
        one: [finding.rule for finding in lint_model(parse(text, 24), "made", version=one).errors] for one in VERSIONS
    }
    before = VERSIONS.index(version)
    assert all("known-operator" in found[one] for one in VERSIONS[:before])
    assert all(found[one] == [] for one in VERSIONS[before:])


def test_a_plain_einsum_and_a_float_power_are_known() -> None:
    text = 'g (float[3,4] x, float[4,5] w) => (float[3,5] y) { e = Einsum <equation = "ij,jk->ik"> (x, w)\n y = Pow (e, e) }'
    assert lint(text) == []
