"""Fixing an accepted warning in a copy, to see what it costs."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest

from bundle.base.errors import GraphError
from compile.graphs.passes.convert_to_fp16 import convert_to_fp16
from compile.graphs.read_onnx import read_model
from compile.tensorrt_checks.run import lint_file, lint_model, view_of
from studies.lint_cost import FIXES, measure, quantize_skips, ratio_db, return_to_float
from studies.lint_cost import run as measured_run
from tests.compile.graphs.passes.made import operators, run
from tests.compile.tensorrt_checks.rules.made import SIZE, many, parse
from tests.compile.tensorrt_checks.rules.test_residual import FLOAT_SKIP
from tests.compile.tensorrt_checks.rules.test_thin import product

FEEDS = [{"x": np.random.default_rng(seed).normal(size=(64, SIZE)).astype(np.float32)} for seed in range(2)]


def test_a_skip_input_is_quantized_by_what_was_seen(tmp_path: Path) -> None:
    text = FLOAT_SKIP.replace("Add (n, x)", "Add (n, r)").replace("n = Add", "r = Relu (x)\n    n = Add")
    ir.save(parse(text), tmp_path / "m.onnx")
    model, findings = read_model(tmp_path / "m.onnx"), lint_file(tmp_path / "m.onnx").findings
    quantize_skips(model, findings, tmp_path / "m.onnx", FEEDS)
    assert operators(model)["QuantizeLinear"] == 2
    assert "residual-input" not in {finding.rule for finding in lint_model(model, "after").findings}
    [before], [after] = run(parse(text), **FEEDS[0]), run(model, **FEEDS[0])
    step = max(float(feed["x"].max()) for feed in FEEDS) / 127
    assert 0 < np.abs(before - after).max() <= 0.5 * step + 1e-5


def test_an_operator_goes_back_to_float_with_the_weight_it_had(tmp_path: Path) -> None:
    ir.save(parse(product(64, 8, 32)), tmp_path / "m.onnx")
    model, findings = read_model(tmp_path / "m.onnx"), lint_file(tmp_path / "m.onnx").findings
    return_to_float(model, findings, tmp_path / "m.onnx", [])
    x = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    assert np.allclose(run(model, x=x)[0], x.astype(np.float64) @ np.full((8, 32), 3 * 0.02), atol=1e-5)


def test_every_mend_is_of_a_rule_that_warns() -> None:
    from compile.tensorrt_checks.rules.accepted import WARNINGS

    assert set(FIXES) <= WARNINGS


@pytest.mark.parametrize(("noise", "decibels"), [(0.1, 20), (0.01, 40)])
def test_the_ratio_is_of_powers(noise: float, decibels: float) -> None:
    reference = [{"a": np.ones((4, 4), np.float32)}]
    assert ratio_db([{"a": reference[0]["a"] + np.float32(noise)}], reference, "a") == pytest.approx(decibels, abs=1e-3)


def test_fp16_is_rounded_as_a_device_does(tmp_path: Path) -> None:
    text = """
    g (float[4] x) => (float[4] y) <float16 c = {15360}>
    { h = Cast <to = 10> (x)  s = Add (h, c)  t = Sub (s, c)  y = Cast <to = 1> (t) }
    """
    ir.save(parse(text), tmp_path / "m.onnx")
    x = np.array([0.0003, 0.3, 2e-4, 5.0], np.float32)
    [answer] = measured_run(tmp_path / "m.onnx", [{"x": x}])
    half = np.float16
    assert np.array_equal(answer["y"], ((x.astype(half) + half(1)) - half(1)).astype(np.float32))


def test_a_skip_input_of_a_typed_graph_is_seen_in_fp16(tmp_path: Path) -> None:
    text = FLOAT_SKIP.replace("Add (n, x)", "Add (n, r)").replace("n = Add", "r = Relu (x)\n    n = Add")
    text = text.replace("    q = QuantizeLinear (x,", "    h = MatMul (x, f)\n    q = QuantizeLinear (h,").replace(
        "(x)\n", "(h)\n"
    )
    text = text.replace(
        "y = Add (n, r)", "o = Add (n, r)\n    y = MatMul (o, f)"
    )  # neither head nor tail: those are float32
    text = text.replace("<float s", f"<float[{SIZE},{SIZE}] f = {many(0.1, SIZE * SIZE)}, float s")
    model, _ = convert_to_fp16(view_of(parse(text)).model)
    ir.save(model, tmp_path / "m.onnx")
    model, findings = view_of(read_model(tmp_path / "m.onnx")).model, lint_file(tmp_path / "m.onnx").findings
    skips = [finding for finding in findings if finding.rule == "residual-input"]
    quantize_skips(model, skips, tmp_path / "m.onnx", FEEDS)
    assert operators(model)["QuantizeLinear"] == 1 + len(skips) == 2


def test_a_bundle_without_int8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="no variant int8"):
        measure(SimpleNamespace(manifest=SimpleNamespace(variants=()), folder=tmp_path), tmp_path, [], [])  # type: ignore[arg-type]
