"""Artifacts: hashes, and what loading refuses."""

import hashlib
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from bundle.base.errors import ArtifactError
from bundle.formats.artifacts import (
    SIDECAR,
    Exported,
    Folded,
    Record,
    TensorSpec,
    hash_file,
    hash_folder,
    inside,
    load,
    verify_files,
    write_text,
)


def make(folder: Path, kind: str = "folded") -> Folded:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "plan").mkdir()
    (folder / "plan" / "artifact.json").write_text("{}")
    record = Record(
        kind=kind,
        files=hash_folder(folder),
        parent=None,
        settings={},
        tools={},
        outputs=(),
        inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 3, 8, 8)),),
    )
    write_text(folder / SIDECAR, record.model_dump_json())
    return Folded(folder=folder, record=record)


def test_a_hash_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    content = os.urandom(3_000_001)
    (tmp_path / "file").write_bytes(content)
    assert hash_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_every_file_but_the_sidecar_is_hashed(tmp_path: Path) -> None:
    made = make(tmp_path / "a")
    assert list(made.record.files) == ["model.safetensors", "plan/artifact.json"]
    assert list(hash_folder(tmp_path / "a")) == ["model.safetensors", "plan/artifact.json"]


def test_load_gives_back_what_was_written(tmp_path: Path) -> None:
    made = make(tmp_path / "a")
    assert load(Folded, tmp_path / "a") == made
    assert made.file("model.safetensors").read_bytes() == b"weights"


def test_identity_is_the_files_and_the_kind(tmp_path: Path) -> None:
    one, two = make(tmp_path / "a"), make(tmp_path / "b")
    assert one.sha256 == two.sha256
    changed = one.record.model_copy(update={"files": one.record.files | {"model.safetensors": "0" * 64}})
    assert changed.sha256 != one.sha256
    assert one.record.model_copy(update={"kind": "exported"}).sha256 != one.sha256


@pytest.mark.parametrize("name", ["model.safetensors", "plan/artifact.json"])
@pytest.mark.parametrize("position", [0, 1])
def test_a_flipped_byte_is_refused_by_name(tmp_path: Path, name: str, position: int) -> None:
    make(tmp_path / "a")
    content = bytearray((tmp_path / "a" / name).read_bytes())
    content[position] ^= 1
    (tmp_path / "a" / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name} was altered"):
        load(Folded, tmp_path / "a")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    make(tmp_path / "a").file("model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"model\.safetensors is missing"):
        load(Folded, tmp_path / "a")


def test_another_kind_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(ArtifactError, match="this is no exported artifact"):
        load(Exported, tmp_path / "a")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no folded artifact here"):
        load(Folded, tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": "folded", "surprise": 1}', "\xff"])
def test_a_broken_sidecar_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / SIDECAR).write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match=f"{SIDECAR} cannot be read"):
        load(Folded, tmp_path)


def test_an_unknown_file_of_an_artifact_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no file 'model\.onnx'"):
        make(tmp_path / "a").file("model.onnx")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "", ".", "./a", "a//b", "a\\b"])
def test_paths_that_lead_out_are_refused(name: str) -> None:
    assert not inside(name)
    with pytest.raises(ValidationError, match="no plain path"):
        Record(kind="folded", files={name: "0" * 64}, parent=None, inputs=(), outputs=(), settings={}, tools={})


def test_plain_paths_are_accepted() -> None:
    assert inside("a") and inside("f32/model.onnx") and inside("a..b")


def test_verify_accepts_what_was_hashed(tmp_path: Path) -> None:
    make(tmp_path / "a")
    verify_files(tmp_path / "a", hash_folder(tmp_path / "a"))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "file", "\ud800")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}
