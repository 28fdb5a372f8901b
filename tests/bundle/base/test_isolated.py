"""Nothing in a working directory is imported, whatever a bundle or its archive is called.

Each test starts a new Python in a folder that holds packages which would leave the file RUN behind if they were imported.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bundle.base.isolated import ROOT, isolate, module, program
from bundle.formats.contents import MANIFEST
from bundle.formats.hash_files import with_hashes
from bundle.formats.manifest import load_bundle, write_manifest
from bundle.transport.archive import pack
from bundle.transport.signature import make_keys, sign
from tests.bundle.made_onnx import make

CODE = "from pathlib import Path\nPath(__file__).with_name('RUN').write_text('')\nraise SystemExit(99)\n"
NAMES = ("onnxruntime", "cryptography", "openvino", "tensorrt", "numpy", "typer", "onnx", "rich", "PIL")


def run(command: list[str], folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder, our packages found by PYTHONPATH as in a checkout that is not installed."""
    full = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, cwd=folder, env=full, capture_output=True, text=True, check=False)
    assert not list(folder.rglob("RUN")), done.stderr
    return done


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A working directory with packages that are asked for late: onnxruntime, and what checks a signature."""
    for name in ("onnxruntime", "cryptography"):
        (tmp_path / "here" / name).mkdir(parents=True)
        (tmp_path / "here" / name / "__init__.py").write_text(CODE)
    return tmp_path / "here"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signed bundle for ONNX Runtime, and the key that checks it."""
    base = tmp_path_factory.mktemp("made")
    private, public = make_keys(base / "key")
    folder = make(base / "bundle", "reference")
    sign(folder, private)
    return folder, public


def test_a_package_in_the_working_directory_is_not_imported_by_python_m_targets(
    hostile: Path, made: tuple[Path, Path]
) -> None:
    folder = shutil.copytree(made[0], hostile / "bundle")
    command = [sys.executable, "-m", "targets", str(folder), "--runs", "1", "--warmup", "0", "--key", str(made[1])]
    done = run(command, hostile)
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout and (hostile / "bundle" / "regression.json").is_file()


def test_an_archive_called_like_a_runtime_brings_no_code(made: tuple[Path, Path], tmp_path: Path) -> None:
    """The way it was done: onnxruntime.zip, whose manifest lists ``__init__.py``, unpacked beside itself as ./onnxruntime."""
    folder = Path(shutil.copytree(made[0], tmp_path / "work"))
    archive = pack(folder, tmp_path / "good.zip")
    terms = load_bundle(folder).manifest
    (folder / "signature.json").unlink()
    listed = {**terms.files, "__init__.py": hashlib.sha256(CODE.encode()).hexdigest()}
    write_manifest(folder, terms.model_copy(update={"files": listed}))
    with zipfile.ZipFile(archive) as good, zipfile.ZipFile(tmp_path / "onnxruntime.zip", "w") as hostile:
        for name in with_hashes(MANIFEST):
            hostile.writestr(name, (folder / name).read_bytes())
        for name in terms.files:
            hostile.writestr(name, good.read(name))
        hostile.writestr("__init__.py", CODE)
    shutil.rmtree(folder)
    done = run([sys.executable, "-m", "targets", "onnxruntime.zip"], tmp_path)
    assert done.returncode == 2 and "'__init__.py' is no file that a bundle lists" in done.stderr
    assert not (tmp_path / "onnxruntime").exists()


def test_a_bundle_called_like_its_runtime_is_no_package(made: tuple[Path, Path], tmp_path: Path) -> None:
    """A folder without Python in it is a namespace package, but for one that is installed."""
    shutil.copyfile(pack(made[0], tmp_path / "sound.zip"), tmp_path / "onnxruntime.zip")
    done = run([sys.executable, "-m", "targets", "onnxruntime.zip", "--runs", "1", "--warmup", "0"], tmp_path)
    assert done.returncode == 0 and (tmp_path / "onnxruntime" / "choice.json").is_file(), done.stderr


FIND = """
import sys
from importlib.util import find_spec
from bundle.base.isolated import isolate
before = [name for name in sys.argv[1:] if find_spec(name) and find_spec(name).origin is None]
isolate()
print(before, [name for name in sys.argv[1:] if find_spec(name) and find_spec(name).origin is None], find_spec("targets").origin)
"""


@pytest.mark.parametrize("place", ["the working directory", "an empty entry", "the checkout"])
def test_a_folder_called_like_a_package_that_is_not_installed_is_none(tmp_path: Path, place: str) -> None:
    copy = tmp_path / "checkout"
    for name in ("bundle", "targets"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    here = copy if place == "the checkout" else tmp_path
    (here / "not_installed_at_all").mkdir()
    path = {"an empty entry": f"{os.pathsep}{copy}"}.get(place, str(copy))
    done = run([sys.executable, "-c", FIND, "not_installed_at_all"], tmp_path, PYTHONPATH=path)
    assert done.stdout == f"['not_installed_at_all'] [] {copy}/targets/__init__.py\n", done.stderr


def test_what_we_start_ourselves_is_isolated_and_finds_our_packages(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(CODE)
    command = program(
        "import numpy, bundle.formats.manifest, tests.bundle; print(sys.flags.isolated, sys.argv[1:], sys.path)", "a b"
    )
    assert command[1:3] == ["-I", "-c"]
    done = run(command, tmp_path, PYTHONPATH=str(tmp_path))
    assert done.stdout.startswith("1 ['a b'] [") and str(tmp_path) not in done.stdout and f"'{ROOT}'" not in done.stdout
    assert run(module("bundle", "schema", "choice"), tmp_path, PYTHONPATH=str(tmp_path)).stdout.startswith("{")


@pytest.mark.slow
@pytest.mark.parametrize("command", [["bundle/__main__.py"], ["compile/build.py"]])
def test_a_script_finds_nothing_in_the_working_directory(tmp_path: Path, command: list[str]) -> None:
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(CODE)
    done = run([sys.executable, str(ROOT / command[0]), "--help"], tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0 and "usage" in done.stdout.lower(), done.stderr


def test_isolating_twice_changes_nothing() -> None:
    isolate()
    before = list(sys.path), list(sys.meta_path)
    isolate()
    assert (list(sys.path), list(sys.meta_path)) == before
