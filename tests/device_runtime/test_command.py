"""``python3 tdss-runtime.pyz …`` as a device's user types it: two files in a folder, no checkout and none of the host's packages."""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bundle.base.isolated import ROOT
from bundle.formats.contents import MANIFEST
from bundle.formats.hash_files import with_hashes
from bundle.formats.manifest import SCHEMA, load_bundle, write_manifest
from bundle.transport.archive import pack
from bundle.transport.signature import make_keys, sign
from device_runtime import __main__ as entry
from device_runtime.write import RUNTIME
from tests.bundle.made import TASKS
from tests.bundle.made_onnx import make
from tests.device_runtime.runtime_file import HOST, altered, carry, start
from tests.exits import exit_code

QUICK = ("--runs", "1", "--warmup", "0")
WRITTEN = {"bench.json", "choice.json", "regression.json"}


@pytest.mark.parametrize(("target", "ran_on"), [("jetson", "emulation"), ("intel", "device")])
def test_a_bundle_is_judged_from_two_files(runtime: Path, tmp_path: Path, target: str, ran_on: str) -> None:
    there = carry(runtime, tmp_path, target)
    done = start(there, "judge", f"{target}.zip", *QUICK)
    assert done.returncode == 0, done.stderr
    assert "PASS: " in done.stdout and f"f32, {ran_on}, 12 images" in done.stdout
    [sent] = there.glob("made-*-results.zip")
    assert f"send this file back: {sent}" in done.stdout
    assert {path.name for path in there.iterdir()} == {RUNTIME, f"{target}.zip", target, sent.name}
    with zipfile.ZipFile(there / f"{target}.zip") as archive:
        new = {path.name for path in (there / target).iterdir()} - set(archive.namelist())
    assert new == {*with_hashes(*WRITTEN)}
    assert (there / RUNTIME).read_bytes() == runtime.read_bytes()


@pytest.mark.slow
def test_the_suite_runs_from_the_file_and_leaves_nothing_behind(runtime: Path, tmp_path: Path) -> None:
    there, scratch = carry(runtime, tmp_path, "reference"), tmp_path / "scratch"
    scratch.mkdir()
    done = start(there, "test", "reference.zip", "-q", "--junitxml", "out.xml", TMPDIR=str(scratch))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{4 * len(TASKS) + 3} passed, {len(TASKS) + 1} skipped" in done.stdout
    assert "test_budget[depth]" in (there / "out.xml").read_text() and list(scratch.iterdir()) == []
    assert start(there, "test", "reference", "--no-such-option").returncode == 2


@pytest.mark.slow
def test_a_worse_model_ends_with_1(runtime: Path, tmp_path: Path) -> None:
    there = carry(runtime, tmp_path, "reference", noise=0.5)
    done = start(there, "judge", "reference.zip", *QUICK)
    assert done.returncode == 1 and "depth: RMSE" in done.stderr
    done = start(there, "test", "reference", "-q")
    assert done.returncode == 1 and "tests/regression/test_bundle.py::test_budget[depth]" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["judge", "test"])
def test_an_altered_archive_is_refused_by_name_and_leaves_nothing(runtime: Path, tmp_path: Path, command: str) -> None:
    there = carry(runtime, tmp_path, "reference")
    altered(there / "reference.zip", "f32.onnx")
    done = start(there, command, "reference.zip")
    assert done.returncode == 2 and "f32.onnx was altered" in done.stderr and "Traceback" not in done.stderr
    assert {path.name for path in there.iterdir()} == {RUNTIME, "reference.zip"}


def test_code_in_an_archive_is_refused_also_under_the_name_of_our_packages(runtime: Path, tmp_path: Path) -> None:
    folder = make(tmp_path / "bundle", "reference")
    code, there = "raise SystemExit(99)\n", tmp_path / "device"
    there.mkdir()
    shutil.copy(runtime, there)
    archive, terms = pack(folder, tmp_path / "good.zip"), load_bundle(folder).manifest
    listed = {**terms.files, "__init__.py": hashlib.sha256(code.encode()).hexdigest()}
    write_manifest(folder, terms.model_copy(update={"files": listed}))
    with zipfile.ZipFile(archive) as good, zipfile.ZipFile(there / "targets.zip", "w") as hostile:
        for name in with_hashes(MANIFEST):
            hostile.writestr(name, (folder / name).read_bytes())
        for name in terms.files:
            hostile.writestr(name, good.read(name))
        hostile.writestr("__init__.py", code)
    done = start(there, "judge", "targets.zip")
    assert done.returncode == 2 and "'__init__.py' is no file that a bundle lists" in done.stderr
    assert not (there / "targets").exists()


@pytest.mark.slow
def test_a_signature_is_asked_for(runtime: Path, tmp_path: Path) -> None:
    there = carry(runtime, tmp_path, "reference")
    private, public = make_keys(tmp_path / "release")
    for command in ("judge", "test"):
        done = start(there, command, "reference.zip", "--key", str(public))
        assert done.returncode == 2 and "this bundle is not signed" in done.stderr
    assert not (there / "reference").exists()
    sign(tmp_path / "made", private)
    pack(tmp_path / "made", there / "reference.zip")
    assert start(there, "judge", "reference.zip", "--key", str(public), *QUICK).returncode == 0
    done = start(there, "verify", "reference", "--key", str(public))
    assert done.returncode == 0 and "the signature covers: manifest.json" in done.stdout


def test_a_newer_bundle_is_refused_by_its_format(runtime: Path, tmp_path: Path) -> None:
    there = carry(runtime, tmp_path, "reference")
    folder = tmp_path / "made"
    write_manifest(folder, load_bundle(folder).manifest.model_copy(update={"schema_version": SCHEMA + 1}))
    done = start(there, "verify", str(folder))
    assert done.returncode == 2 and f"of format {SCHEMA + 1}, which is newer" in done.stderr and RUNTIME in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "command", "line"),
    [
        ("numpy", "judge", "'numpy>=1.26' 'pydantic>=2.7,<3' 'pytest>=8'"),
        ("pydantic", "judge", "'numpy>=1.26' 'pydantic>=2.7,<3' 'pytest>=8'"),
        ("pytest,_pytest", "test", "'numpy>=1.26' 'pydantic>=2.7,<3' 'pytest>=8'"),
        ("openvino", "judge", "'openvino>=2026.4'"),
    ],
)
def test_a_package_that_is_missing_ends_with_3_and_pips_command(
    runtime: Path, tmp_path: Path, missing: str, command: str, line: str
) -> None:
    there = carry(runtime, tmp_path, "intel")
    done = start(there, command, "intel.zip", without=f"{HOST},{missing}")
    assert done.returncode == 3 and f"{sys.executable} -m pip install {line}\n" in done.stderr, done.stderr


def test_an_old_python_is_refused_and_can_read_the_message(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    ast.parse((ROOT / "device_runtime" / "__main__.py").read_text(), feature_version=(3, 6))
    monkeypatch.setattr(entry, "OLDEST", (9, 1))
    assert exit_code(entry.main) == 3 and "Python 9.1 or newer" in capsys.readouterr().err


BUILDER = """
import subprocess
from bundle.base.isolated import isolate, module
isolate()
words = ("g.onnx", ".", "f16", "{}")
done = subprocess.run(module("targets.jetson.build_subprocess", *words), capture_output=True, text=True)
print(done.returncode, done.stderr)
"""


def test_a_builder_in_a_process_of_its_own_runs_from_the_file(runtime: Path, tmp_path: Path) -> None:
    """TensorRT is a FAKE that knows its version only: the builder comes as far as the CUDA runtime, which is not here."""
    (tmp_path / "tensorrt.py").write_text("__version__ = '10.3.0'\n")
    done = start_program(runtime, tmp_path, BUILDER)
    assert done.startswith("3 error: ") and "CUDA" in done and "Traceback" not in done


OWN = """
import sys
from pathlib import Path
from bundle.formats.manifest import load_bundle
from targets.base import RunConfig
from targets.open import open_session
session, ran_on = open_session(load_bundle(Path(sys.argv[1])), execute="auto", variant="", run=RunConfig())
with session:
    print(ran_on, [spec.name for spec in session.outputs])
"""


def test_a_program_imports_our_packages_from_the_file(runtime: Path, tmp_path: Path) -> None:
    folder = make(tmp_path / "made", "reference")
    assert start_program(runtime, tmp_path, OWN, str(folder)) == f"device {list(TASKS)}\n"


def start_program(runtime: Path, folder: Path, code: str, *words: str) -> str:
    """Run a program with the runtime file and a folder on its path; return what it prints."""
    path = os.pathsep.join([str(runtime), str(folder)])
    scratch = folder / "elsewhere"
    scratch.mkdir()
    command = [sys.executable, "-c", code, *words]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": path}
    done = subprocess.run(command, cwd=scratch, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
