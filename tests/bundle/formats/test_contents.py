"""What a bundle may hold is a closed list: nothing that Python would import, in a manifest, an archive or a folder."""

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.formats.contents import MANIFEST, listable
from bundle.formats.engines import write_engine_file
from bundle.formats.hash_files import with_hashes
from bundle.formats.manifest import load_bundle, verify_bundle, write_manifest
from bundle.transport.archive import pack, unpack
from tests.bundle.made import make_bundle, manifest

IMPORTABLE = [
    "__init__.py",
    "sitecustomize.py",
    "openvino.py",
    "capi.cpython-310-x86_64-linux-gnu.so",
    "x.abi3.so",
    "a.pyc",
    "a.pyd",
    "evil.pth",
    "__pycache__/a.cpython-310.pyc",
    "capi/__init__.py",
    "f32/model.onnx",
    "numpy.zip",
    "x.egg",
    "x.whl",
    "run.sh",
]
OTHERS = [
    "notes.txt",
    ".onnx",
    "-f32.onnx",
    "../f32.onnx",
    "/f32.onnx",
    "F32.onnx",
    "f32.onnx\n",
    "f32.onnx.py",
    "Fold.json",
    "",
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("contents") / "bundle", count=1).folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "bundle"))


@pytest.mark.parametrize("name", ["float.xml", "float.bin", "int8_mixed.onnx", "f16.emulation.onnx", "vectors.npz"])
def test_what_a_build_writes_may_be_listed(name: str) -> None:
    assert listable(name)


@pytest.mark.parametrize("name", [*IMPORTABLE, *OTHERS])
def test_nothing_else_may_be_listed(name: str) -> None:
    assert not listable(name)


@pytest.mark.parametrize("name", IMPORTABLE)
def test_a_manifest_that_lists_it_is_refused_by_name_in_a_folder_and_an_archive(
    folder: Path, tmp_path: Path, name: str
) -> None:
    archive, good = pack(folder, tmp_path / "onnxruntime.zip"), manifest(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"code")
    write_manifest(folder, good.model_copy(update={"files": {**good.files, name: hashlib.sha256(b"code").hexdigest()}}))
    with pytest.raises(ArtifactError, match=f"{name!r} is no file that a bundle lists") as caught:
        load_bundle(folder)
    assert caught.value.exit_code == 2
    with zipfile.ZipFile(archive) as good_archive, zipfile.ZipFile(tmp_path / "hostile.zip", "w") as hostile:
        for entry in good_archive.infolist():
            hostile.writestr(
                entry,
                (folder / entry.filename).read_bytes()
                if entry.filename in with_hashes(MANIFEST)
                else good_archive.read(entry),
            )
        hostile.writestr(name, b"code")
    with pytest.raises(ArtifactError, match=f"{name!r} is no file that a bundle lists"):
        unpack(tmp_path / "hostile.zip", tmp_path / "onnxruntime")
    assert not (tmp_path / "onnxruntime").exists()


@pytest.mark.parametrize(
    "name", [*IMPORTABLE, "engines/__init__.py", "engines/x.so", "journal/__init__.py", "notes.txt"]
)
def test_it_is_refused_by_name_where_it_lies_in_the_folder_unlisted(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"code")
    first = name if name.startswith(("engines/", "journal/")) else name.partition("/")[0]
    for opening in (load_bundle, verify_bundle):
        with pytest.raises(ArtifactError, match=rf"^{first} is no file of a bundle") as caught:
            opening(folder)
        assert caught.value.exit_code == 2


def test_what_a_device_writes_and_a_killed_run_leaves_is_no_obstacle(folder: Path) -> None:
    write_engine_file(folder, "f16-0123.engine", b"plan")
    write_engine_file(folder, "timing-0123.cache", b"times")
    (folder / "engines" / f".f16.engine.{'0' * 32}.tmp").write_bytes(b"half")
    (folder / "journal").mkdir()
    (folder / "journal" / "0123456789abcdef.jsonl").write_text("")
    (folder / f".choice.json.{'a' * 32}.tmp").write_text("half")
    load_bundle(folder)


def test_a_folder_under_the_name_of_a_leftover_is_refused(folder: Path) -> None:
    name = f".choice.json.{'a' * 32}.tmp"
    (folder / name).mkdir()
    with pytest.raises(ArtifactError, match="is no file of a bundle"):
        load_bundle(folder)
