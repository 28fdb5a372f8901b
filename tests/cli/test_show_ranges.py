"""``tdss ranges`` on the ranges a build measured."""

import json
from pathlib import Path

import pytest

from tests.bundle.made import make_bundle
from tests.cli.run import tdss

ROWS = [{"tensor": "h", "largest": 120.5}, {"tensor": "k", "largest": 65504.0}, {"tensor": "z", "largest": 0.0}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ranges.json").write_text(json.dumps(ROWS))
    return tmp_path


def test_the_widest_comes_first_and_what_stays_float32_is_marked(folder: Path, capsys) -> None:
    code, out, err = tdss("ranges", str(folder), "--count", "2", capsys=capsys)
    assert (code, err) == (0, "")
    head, first, second = out.splitlines()
    assert head.startswith("3 tensors, 1 of them left in float32")
    assert first.split() == ["6.55e+04", "100.000%", "float32", "k"] and second.split()[-1] == "h"


def test_as_json_every_tensor_has_its_reason(folder: Path, capsys) -> None:
    _, out, _ = tdss("ranges", str(folder), "--json", capsys=capsys)
    rows = {row["tensor"]: row["kept"] for row in json.loads(out)}
    assert "k reaches 6.55e+04" in rows["k"] and rows["h"] == rows["z"] == ""


def test_a_range_that_is_not_finite_comes_first_and_is_null_as_json(tmp_path: Path, capsys) -> None:
    (tmp_path / "ranges.json").write_text(json.dumps([*ROWS, {"tensor": "n", "largest": None}]))
    _, out, _ = tdss("ranges", str(tmp_path), "--count", "1", capsys=capsys)
    assert out.splitlines()[1].split() == ["not", "finite", "float32", "n"]
    _, out, _ = tdss("ranges", str(tmp_path), "--json", capsys=capsys)
    assert json.loads(out)[0] == {
        "tensor": "n",
        "largest": None,
        "divisor": None,
        "kept": "n reaches NaN or infinity, FP16 ends at 65504",
    }


def test_a_folder_without_ranges_is_refused(tmp_path: Path, capsys) -> None:
    code, _, err = tdss("ranges", str(tmp_path), capsys=capsys)
    assert code == 2 and "ranges.json cannot be read" in err


def test_a_bundle_that_has_none_by_design_is_named_as_the_cause(tmp_path: Path, capsys) -> None:
    made = make_bundle(tmp_path / "made" / "intel", count=1)
    code, _, err = tdss("ranges", str(made.folder), capsys=capsys)
    assert code == 2 and "this bundle has no ranges.json" in err and f"a bundle for {made.manifest.target}" in err
