"""Engines: kept with their hash, and never taken without it."""

import os
import subprocess
from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.formats.contents import ENGINES
from bundle.formats.engines import check_engines, read_engine_file, write_engine_file


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    path = write_engine_file(tmp_path, "a.engine", b"plan")
    assert path == tmp_path / ENGINES / "a.engine" and read_engine_file(tmp_path, "a.engine") == b"plan"
    assert write_engine_file(tmp_path, "a.engine", b"another plan").read_bytes() == b"another plan"
    check_engines(tmp_path)
    assert sorted(os.listdir(tmp_path / ENGINES)) == ["a.engine", "a.engine.sha256"]


def test_sha256sum_reads_the_hashes(tmp_path: Path) -> None:
    write_engine_file(tmp_path, "a.engine", b"plan")
    done = subprocess.run(
        ["sha256sum", "-c", "a.engine.sha256"], cwd=tmp_path / ENGINES, check=False, capture_output=True
    )
    assert done.returncode == 0


def test_one_that_a_killed_build_left_is_not_there(tmp_path: Path) -> None:
    assert read_engine_file(tmp_path, "a.engine") is None
    write_engine_file(tmp_path, "a.engine", b"plan")
    (tmp_path / ENGINES / "a.engine.sha256").unlink()
    assert read_engine_file(tmp_path, "a.engine") is None
    check_engines(tmp_path)


@pytest.mark.parametrize("name", ["a.engine", "a.engine.sha256"])
def test_any_flipped_or_missing_byte_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = write_engine_file(tmp_path, "a.engine", b"plan").with_name(name)
    content = path.read_bytes()
    spoilt = [content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :] for place in range(len(content))]
    for wrong in [*spoilt, content[:-1], b""]:
        path.write_bytes(wrong)
        with pytest.raises(ArtifactError, match=r"a\.engine was altered, or a\.engine\.sha256 was"):
            check_engines(tmp_path)
        with pytest.raises(ArtifactError):
            read_engine_file(tmp_path, "a.engine")


def test_a_missing_engine_is_refused_by_name(tmp_path: Path) -> None:
    write_engine_file(tmp_path, "a.engine", b"plan").unlink()
    with pytest.raises(ArtifactError, match=r"^engines/a\.engine") as caught:
        check_engines(tmp_path)
    assert caught.value.got == "no such file"
