"""tdss lint on files of any origin."""

import json
from pathlib import Path

import onnx_ir as ir
import pytest

from tests.cli.run import tdss
from tests.compile.tensorrt_checks.rules.made import GOOD, parse
from tests.compile.tensorrt_checks.rules.test_accepted import GOOD as ACCEPT
from tests.compile.tensorrt_checks.rules.test_residual import FLOAT_SKIP


def saved(text: str, folder: Path) -> str:
    """Write ONNX text as a file."""
    ir.save(parse(text), folder / "model.onnx")
    return str(folder / "model.onnx")


def test_a_good_graph_is_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = tdss("lint", saved(GOOD, tmp_path), capsys=capsys)
    assert (code, err) == (0, "")
    assert out.endswith("0 errors, 0 warnings, 0 more accepted by name\n")


def test_an_error_is_exit_1_and_names_rule_node_tensor_effect_and_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = tdss("lint", saved(GOOD.replace("int8 z = {0}", "uint8 z = {0}"), tmp_path), capsys=capsys)
    assert code == 1
    assert "error symmetric-int8 (rule 1)" in out and "[x]" in out
    assert "TensorRT: " in out and "fix: " in out


def test_json_is_the_whole_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = tdss("lint", saved(FLOAT_SKIP, tmp_path), "--json", capsys=capsys)
    [finding] = json.loads(out)["findings"]
    assert code == 0
    assert (finding["rule"], finding["severity"], finding["tensor"]) == ("residual-input", "warning", "x")


def test_a_warning_fails_under_strict_until_it_is_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(FLOAT_SKIP, tmp_path)
    assert tdss("lint", path, "--strict", capsys=capsys)[0] == 1
    (tmp_path / "accept.toml").write_text(ACCEPT.replace("backbone\\..*", ".*"))
    code, out, _ = tdss("lint", path, "--strict", "--accept", str(tmp_path / "accept.toml"), capsys=capsys)
    assert code == 0
    assert "accepted: the stream stays exact" in out


def test_a_file_that_is_no_model_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    code, _, err = tdss("lint", str(tmp_path / "model.onnx"), capsys=capsys)
    assert code == 2
    assert "cannot be read as ONNX" in err
