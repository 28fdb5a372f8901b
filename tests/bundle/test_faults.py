"""The table of faults (docs/reference/faults.md): every file of a bundle, broken in every way; none is missed and none crashes."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.formats.contents import MANIFEST, RESULTS
from bundle.formats.engines import write_engine_file
from bundle.formats.hash_files import with_hashes
from bundle.formats.manifest import load_bundle, verify_bundle, write_manifest
from bundle.judging.choice import pick
from bundle.judging.regression_report import read_report
from bundle.transport.signature import make_keys, require_signature, sign
from tests.architecture.source import ROOT
from tests.bundle.made import make_bundle, manifest, write_result

ENGINE = "engines/int8.engine"
FILES = ["manifest.json", "f32.onnx", "fold.json", "vectors.npz", *RESULTS, "signature.json", ENGINE]


def fill(folder: Path, key: Path, name: str, budget: float) -> Path:
    """A bundle with everything a bundle can hold; two of them share no file."""
    make_bundle(folder, count=2 if name == "one" else 3)
    (folder / "fold.json").write_text(f'["{name}"]\n')
    (folder / "f32.onnx").write_bytes(f"the graph of {name}".encode())
    write_manifest(folder, manifest(folder, budget=budget).model_copy(update={"name": name, "results": RESULTS}))
    for result in RESULTS:
        write_result(folder, result, f"<head>\n{name}\n" if result.endswith(".html") else f'{{"of": "{name}"}}')
    sign(folder, key)
    write_engine_file(folder, "int8.engine", f"the engine of {name}".encode())
    return folder


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("keys") / "key")[0]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, key: Path) -> tuple[Path, Path]:
    """Two sound bundles."""
    base = tmp_path_factory.mktemp("pair")
    return fill(base / "one", key, "one", 0.1), fill(base / "other", key, "other", 0.2)


@pytest.fixture
def folder(pair: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(pair[0], tmp_path / "bundle"))


def refused(folder: Path, name: str) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        verify_bundle(folder)
    assert Path(name).name in caught.value.message + caught.value.expected, str(caught.value)
    assert caught.value.exit_code == 2 and caught.value.fix
    return caught.value


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _to(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


FAULTS: dict[str, Callable[[Path], object]] = {
    "emptied": _to(lambda content: b""),
    "cut to a half": _to(lambda content: content[: len(content) // 2]),
    "cut by one byte": _to(lambda content: content[:-1]),
    "one bit of the first byte": _to(lambda content: bytes([content[0] ^ 1]) + content[1:]),
    "one bit in the middle": _to(
        lambda content: (
            content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 16]) + content[len(content) // 2 + 1 :]
        )
    ),
    "one bit of the last byte": _to(lambda content: content[:-1] + bytes([content[-1] ^ 128])),
    "one byte more": _to(lambda content: content + b"\n"),
    "zeros": _to(lambda content: bytes(len(content))),
    "removed": Path.unlink,
    "a folder instead": _as_folder,
}


# Without its signature a bundle is unsigned, and refused where a key is given (tests/bundle/transport/test_signature.py).
PAIRS = [(name, fault) for name in FILES for fault in FAULTS if (name, fault) != ("signature.json", "removed")]


@pytest.mark.parametrize(("name", "fault"), PAIRS)
def test_any_fault_of_any_file_is_refused_by_name(folder: Path, name: str, fault: str) -> None:
    FAULTS[fault](folder / name)
    refused(folder, name)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_bundle_is_refused_by_name(folder: Path, pair: tuple[Path, Path], name: str) -> None:
    shutil.copyfile(pair[1] / name, folder / name)
    refused(folder, name)


def test_a_manifest_of_another_bundle_with_its_hash_is_refused_by_the_files_it_does_not_list(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    for name in with_hashes(MANIFEST):
        shutil.copyfile(pair[1] / name, folder / name)
    refused(folder, "f32.onnx")


def test_an_engine_of_another_bundle_with_its_hash_is_whole_and_keyed_by_its_graph(
    folder: Path, pair: tuple[Path, Path]
) -> None:
    for name in (ENGINE, f"{ENGINE}.sha256"):
        shutil.copyfile(pair[1] / name, folder / name)
    load_bundle(
        folder
    )  # a cache: an engine's name is the hash of its graph, device and flags, so it is never asked for


def test_a_hash_of_an_engine_that_is_cut_or_flipped_is_refused_by_name(folder: Path) -> None:
    path = folder / f"{ENGINE}.sha256"
    content = path.read_bytes()
    for spoilt in (b"", content[:20], bytes([content[0] ^ 1]) + content[1:]):
        path.write_bytes(spoilt)
        refused(folder, ENGINE)


@pytest.mark.parametrize("version", [0, 1, "2.0", None])
def test_another_schema_version_of_the_manifest_is_refused(folder: Path, version: object) -> None:
    write_manifest(folder, manifest(folder).model_copy(update={"schema_version": version}))
    error = refused(folder, "manifest.json")
    assert "schema_version" in error.got and error.expected == "schema_version 2 to 4"


@pytest.mark.parametrize("text", ['{"schema": 2}', "{}", '{"schema": "one"}'])
def test_another_schema_of_a_result_is_refused(folder: Path, text: str) -> None:
    write_result(folder, "regression.json", text)
    load_bundle(folder)
    with pytest.raises(ArtifactError, match=r"regression\.json cannot be read"):
        read_report(folder)


@pytest.mark.parametrize("text", ['{"schema_version": 2}', "{}", "[]"])
def test_another_schema_of_a_choice_is_refused_where_a_variant_is_picked(folder: Path, text: str) -> None:
    if text.startswith("{"):
        write_result(folder, "choice.json", text)
    else:
        (folder / "choice.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"choice\.json"):
        pick(load_bundle(folder), "")


def test_another_schema_of_a_signature_is_refused(folder: Path, key: Path) -> None:
    write_result(folder, "signature.json", '{"schema_version": 1}')
    with pytest.raises(ArtifactError, match=r"signature\.json cannot be read"):
        require_signature(load_bundle(folder), key.with_name("key.pub"))


def test_every_test_the_table_names_exists() -> None:
    text = (ROOT / "docs" / "reference" / "faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(?:\w+::)*(\w+)`", text)
    assert len(named) > 20
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text()]
    assert missing == []
