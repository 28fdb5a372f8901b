"""What nncf.quantize does by default, and the row it gets."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bundle.formats.tensorrt_checks import Proof
from compile.tensorrt_checks import check_build as checks
from compile.tensorrt_checks.run import lint_file
from studies.quantization.nncf_defaults import quantize_naively, row
from tests.compile.tensorrt_checks.rules.made import parse

NETWORK = """
g (float[1,8,8,8] image) => (float[1,8,8,8] y)
<float[8,8,3,3] a = {NUMBERS}, float[8,8,3,3] b = {NUMBERS}>
{
    [first] h = Conv <pads = [1, 1, 1, 1]> (image, a)
    [bend] r = Relu (h)
    [second] y = Conv <pads = [1, 1, 1, 1]> (r, b)
}
""".replace("{NUMBERS}", "{" + ", ".join(f"{number:.3f}" for number in np.random.default_rng(0).normal(size=576)) + "}")


@pytest.mark.slow
def test_the_default_breaks_rule_1_and_its_row_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "prove", lambda graphs: Proof(status="not run", reason="a test"))
    ir.save(parse(NETWORK), tmp_path / "model.onnx")
    feeds = [{"image": np.random.default_rng(seed).normal(size=(1, 8, 8, 8)).astype(np.float32)} for seed in range(2)]
    default, transformer = quantize_naively(tmp_path / "model.onnx", feeds, tmp_path / "out")
    assert [path.name for path in (default, transformer)] == ["naive-defaults.onnx", "naive-transformer.onnx"]
    assert {finding.rule for finding in lint_file(default).errors} == {"symmetric-int8"}  # the Relu's uint8
    assert any("other than 0" in finding.effect for finding in lint_file(transformer).errors)  # the mixed preset
    assert row(checks.check_graph(default)).startswith("| naive-defaults.onnx | ")
    assert "| symmetric-int8 |" in row(checks.check_graph(default))
