"""A file and its hash: sha256sum agrees, and a write that fails or is killed leaves no wrong hash."""

import os
import subprocess
from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.formats import artifacts
from bundle.formats.contents import MANIFEST
from bundle.formats.hash_files import require_hash, with_hashes, write_hashed
from bundle.formats.results import read_manifest_bytes


def test_sha256sum_checks_what_was_written(tmp_path: Path) -> None:
    write_hashed(tmp_path / "a b.json", b"{}")
    done = subprocess.run(["sha256sum", "-c", "a b.json.sha256"], cwd=tmp_path, check=False, capture_output=True)
    assert done.returncode == 0 and sorted(os.listdir(tmp_path)) == ["a b.json", "a b.json.sha256"]
    assert with_hashes("a", "b") == ("a", "a.sha256", "b", "b.sha256")


def test_a_write_that_fails_leaves_the_old_file_and_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_hashed(path, b"old")
    with pytest.raises(TypeError):
        write_hashed(path, "no bytes")  # type: ignore[arg-type]
    assert require_hash(path, path.read_bytes(), name="a.json", fix="") == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a.json", "a.json.sha256"]


def test_a_kill_between_the_two_renames_leaves_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, replace = tmp_path / "a.json", os.replace
    write_hashed(path, b"old")

    def once(source: Path, target: Path) -> None:
        if target != path:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(artifacts.os, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        write_hashed(path, b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(ArtifactError, match=r"a\.json has no hash beside it"):
        require_hash(path, b"new", name="a.json", fix="")


def test_a_manifest_is_read_with_its_sha256(tmp_path: Path) -> None:
    write_hashed(tmp_path / MANIFEST, b"{}")
    summed = subprocess.run(["sha256sum", MANIFEST], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert read_manifest_bytes(tmp_path) == (b"{}", summed.split()[0])


def test_a_manifest_of_format_1_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"schema_version": 1, "seal": "00"}')
    with pytest.raises(ArtifactError, match=r"manifest\.json has no hash beside it") as refused:
        read_manifest_bytes(tmp_path)
    assert "format 1" in refused.value.fix and "build it again" in refused.value.fix
