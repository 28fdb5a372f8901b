"""``python -m bundle`` as a person types it, where nothing but NumPy and pydantic can be imported."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bundle.__main__ import main
from tests.bundle.made import make_bundle, write_result
from tests.exits import exit_code

ROOT = Path(__file__).resolve().parents[2]
BARE = """
import runpy, sys
from tests.exits import exit_code
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "typer", "rich", "onnx", "click", "PIL", "safetensors", "cryptography"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
runpy.run_module("bundle", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_bundle(tmp_path_factory.mktemp("main") / "bundle", count=1).folder
    write_result(made, "regression.json", "{}")
    return made


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    return exit_code(main, list(arguments)), *capsys.readouterr()


def test_what_the_system_refuses_is_bad_input(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    code, _, said = run("pack", str(sound), "--out", str(tmp_path / "file" / "bundle.zip"), capsys=capsys)
    assert code == 2 and "the output cannot be written" in said and "file" in said
    assert run("unpack", "x.zip", "--out", str(tmp_path / "out"), "--max-bytes", "0", capsys=capsys)[0] == 2


def test_the_road_of_a_bundle(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, packed, out = (str(tmp_path / name) for name in ("release", "bundle.zip", "out"))
    folder = str(shutil.copytree(sound, tmp_path / "bundle"))
    steps = [
        ("keygen", key),
        ("sign", folder, "--key", key),
        ("verify", folder, "--key", f"{key}.pub"),
        ("pack", folder, "--out", packed),
        ("unpack", packed, "--out", out, "--key", f"{key}.pub"),
        ("info", out),
    ]
    for step in steps:
        assert run(*step, capsys=capsys)[0] == 0, step
    code, text, _ = run("verify", out, "--json", "--key", f"{key}.pub", capsys=capsys)
    answer = json.loads(text)
    assert code == 0 and answer["results"] == ["regression.json", "signature.json"]
    assert answer["signed"].endswith("checked") and set(answer["files"]) == {"f32.onnx", "fold.json", "vectors.npz"}


def test_verify_says_what_it_checked(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = run("verify", str(sound), capsys=capsys)
    assert text == f"{sound}: 3 files are what the build wrote; 1 written later are as their hashes say; not signed\n"


def test_an_altered_bundle_ends_with_2_and_its_name(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "bundle"))
    (folder / "fold.json").write_text("[1]")
    for command in (["verify", str(folder)], ["info", str(folder)], ["pack", str(folder)]):
        code, out, err = run(*command, capsys=capsys)
        assert (code, out) == (2, "") and "fold.json was altered" in err


def test_an_unsigned_bundle_ends_with_2_where_a_key_is_given(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("keygen", str(tmp_path / "release"), capsys=capsys)
    code, _, err = run("verify", str(sound), "--key", str(tmp_path / "release.pub"), capsys=capsys)
    assert code == 2 and "this bundle is not signed" in err


def test_verify_says_what_the_signature_covers_and_what_it_does_not(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, key = Path(shutil.copytree(sound, tmp_path / "b")), str(tmp_path / "release.pub")
    _, before, _ = run("verify", str(folder), "--json", capsys=capsys)
    assert json.loads(before)["covered"] == [] and json.loads(before)["not_covered"] == {}
    run("keygen", str(tmp_path / "release"), capsys=capsys)
    run("sign", str(folder), "--key", str(tmp_path / "release"), capsys=capsys)
    code, out, _ = run("verify", str(folder), "--key", key, capsys=capsys)
    assert code == 0 and "the signature covers: manifest.json, every file it lists, regression.json" in out
    assert "does not cover" not in out
    write_result(folder, "regression.json", '{"passed": true}')
    write_result(folder, "report.html", "<head>\n")
    _, out, _ = run("verify", str(folder), "--key", key, capsys=capsys)
    assert "the signature does not cover: regression.json, changed after it was signed" in out
    assert "the signature does not cover: report.html, written after it was signed" in out
    found = json.loads(run("verify", str(folder), "--key", key, "--json", capsys=capsys)[1])
    assert found["covered"] == ["manifest.json", "f32.onnx", "fold.json", "vectors.npz"] and found["signature_checked"]
    assert list(found["not_covered"]) == ["regression.json", "report.html"]


def test_pack_writes_beside_the_bundle(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "intel"))
    _, text, _ = run("pack", str(folder), "--json", capsys=capsys)
    assert json.loads(text) == {
        "archive": str(tmp_path / "intel.zip"),
        "bytes": (tmp_path / "intel.zip").stat().st_size,
    }


@pytest.mark.parametrize("arguments", [[], ["burn"], ["unpack", "x.zip"], ["sign", "x"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(*arguments, capsys=capsys)
    assert code == 2 and err.startswith("error: ") and "expected: python -m bundle" in err and "\n  fix: " in err


def test_it_needs_numpy_and_pydantic_only_and_never_passes_a_signature_in_silence(sound: Path, tmp_path: Path) -> None:
    def bare(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", BARE, *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    done = bare("verify", str(sound))
    assert done.returncode == 0, done.stderr
    done = bare("verify", str(sound), "--key", str(tmp_path / "any.pub"))
    assert done.returncode == 3 and "--editable '.[sign]'" in done.stderr
    done = bare("--help")
    assert done.returncode == 0 and "python -m bundle unpack" in done.stdout
