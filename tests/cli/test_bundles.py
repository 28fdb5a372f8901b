"""What the commands do with a bundle: one that is sound, one that is worse, one that was altered."""

import json
import shutil
from pathlib import Path

import pytest

from bundle.formats.results import read_result
from cli import regress
from tests.bundle.made import TASKS
from tests.bundle.made_onnx import COUNT, make
from tests.cli.run import tdss


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the reference target that answers as its reference did."""
    return make(tmp_path_factory.mktemp("sound") / "bundle", "reference")


def test_regress_prints_the_table_and_writes_the_result(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = tdss("regress", str(sound), capsys=capsys)
    assert (code, err) == (0, "")
    assert all(name in out for name in TASKS)
    assert json.loads((sound / "regression.json").read_text())["images"] == COUNT


def test_regress_as_json_prints_what_it_writes(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = tdss("regress", str(sound), "--json", capsys=capsys)
    written = json.loads(read_result(sound, "regression.json"))
    assert written.pop("arrays")["ids"] and json.loads(out) == written


@pytest.mark.slow
def test_regress_compares_with_an_earlier_run_and_writes_junit(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, junit = tmp_path / "old.json", tmp_path / "results" / "junit.xml"
    assert tdss("regress", str(sound), "--out", str(old), capsys=capsys)[0] == 0
    code, out, _ = tdss(
        "regress", str(sound), "--baseline", str(old), "--two-sided", "--junit", str(junit), capsys=capsys
    )
    assert code == 0 and "against the earlier run" in out and "no task is worse by more than its budget" in out
    assert junit.read_text().count("<testcase") == 4 * len(TASKS) and "share < 30°" in out
    worse = make(tmp_path / "worse", "reference", noise=0.5)
    code, out, err = tdss("regress", str(worse), "--baseline", str(old), "--junit", str(junit), capsys=capsys)
    assert code == 1 and "against the earlier run: depth" in err and junit.read_text().count("<failure") == 2


def test_regress_looks_for_the_place_of_its_files_before_it_judges(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setattr(regress, "judge_bundle", None)
    code, _, err = tdss("regress", str(sound), "--junit", str(tmp_path / "a file" / "junit.xml"), capsys=capsys)
    assert code == 2 and "the output cannot be written" in err and "Traceback" not in err


def test_regress_refuses_a_baseline_that_is_none(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = tdss("regress", str(sound), "--baseline", str(tmp_path / "no.json"), capsys=capsys)
    assert code == 2 and "no.json is no result of a regression" in err


def test_regress_ends_with_1_and_names_the_task_that_is_worse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "worse", "reference", noise=0.5)
    code, _, err = tdss("regress", str(folder), capsys=capsys)
    assert code == 1
    assert "depth: RMSE " in err and "semseg:" not in err
    assert json.loads((folder / "regression.json").read_text())["passed"] is False


def test_regress_ends_with_2_without_such_a_variant(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = tdss("regress", str(sound), "--variant", "int8", capsys=capsys)
    assert code == 2
    assert "no variant 'int8'" in err


def test_regress_ends_with_3_where_the_device_is_missing(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = tdss("regress", str(sound), "--device", "NPU", capsys=capsys)
    assert code == 3
    assert "NPU" in err


def test_verify_counts_the_files(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = json.loads((sound / "manifest.json").read_text())["files"]
    code, out, _ = tdss("bundle", "verify", str(sound), "--json", capsys=capsys)
    assert code == 0
    assert json.loads(out)["files"] == files
    assert tdss("bundle", "verify", str(sound), capsys=capsys)[1].startswith(f"{sound}: {len(files)} files")


@pytest.mark.parametrize("command", ["verify", "info"])
def test_an_altered_file_is_refused_by_name(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(tmp_path / "altered", "reference")
    graph = folder / "f32.onnx"
    content = bytearray(graph.read_bytes())
    content[-1] ^= 1
    graph.write_bytes(content)
    code, out, err = tdss("bundle", command, str(folder), capsys=capsys)
    assert (code, out) == (2, "")
    assert "f32.onnx was altered" in err


def test_info_names_what_the_bundle_holds(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = tdss("bundle", "info", str(sound), capsys=capsys)
    assert code == 0
    assert all(f"{name}: {channels} channels, budget 1%" in out for name, channels in TASKS.items())
    assert "f32: f32.onnx" in out and "shipped" in out


def test_info_as_json_is_the_manifest(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = tdss("bundle", "info", str(sound), "--json", capsys=capsys)
    assert json.loads(out) == json.loads((sound / "manifest.json").read_text())


@pytest.mark.parametrize("options", [(), ("--stored-only",)])
def test_report_draws_the_page(sound: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = tdss("report", str(sound), "--json", *options, capsys=capsys)
    assert code == 0
    page = Path(json.loads(out)["report"])
    assert page == sound / "report.html"
    assert "<html" in page.read_text(encoding="utf-8")


def test_a_bundles_page_has_its_place(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = tdss("report", str(sound), "--out", str(tmp_path / "page.html"), capsys=capsys)
    assert code == 2 and "--out only with several results" in err
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_signed_packed_and_unpacked_as_on_a_device(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, key, out = str(shutil.copytree(sound, tmp_path / "b")), str(tmp_path / "key"), str(tmp_path / "out")
    steps = [
        ("keygen", key),
        ("sign", folder, "--key", key),
        ("pack", folder),
        ("unpack", f"{folder}.zip", "--out", out),
        ("verify", out, "--key", f"{key}.pub"),
        ("info", out),
    ]
    for step in steps:
        assert tdss("bundle", *step, capsys=capsys)[0] == 0, step
    code, _, err = tdss("bundle", "verify", str(sound), "--key", f"{key}.pub", capsys=capsys)
    assert code == 2 and "not signed" in err


def test_a_reference_without_its_images_is_refused(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = tdss("regress", str(sound), "--reference", "ref.npz", capsys=capsys)
    assert (code, out) == (2, "") and "--reference alone" in error
