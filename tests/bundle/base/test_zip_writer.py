"""The zip writer, read by zipfile and by unzip."""

import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.base.zip_writer import NOISY, REPEATING, ZipWriter

MEMBERS = st.dictionaries(st.text("abcß/", min_size=1).map("x".__add__), st.lists(st.binary(max_size=300)), max_size=5)


@given(MEMBERS, st.sampled_from([NOISY, REPEATING]))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, list[bytes]], strategy: int
) -> None:
    path = tmp_path_factory.mktemp("zip") / "a.zip"
    with ZipWriter(path) as archive:
        for name, chunks in members.items():
            archive.add(name, chunks, strategy)
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == {k: b"".join(v) for k, v in members.items()}


@pytest.mark.skipif(shutil.which("unzip") is None, reason="no unzip on this machine")
def test_another_program_reads_it(tmp_path: Path) -> None:
    with ZipWriter(tmp_path / "a.zip") as archive:
        archive.add("one.npy", [b"1" * 5000], REPEATING)
        archive.add("two.npy", [], NOISY)
    done = subprocess.run(["unzip", "-t", str(tmp_path / "a.zip")], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


def test_noise_is_smaller_without_a_search_for_strings(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(scale=3, size=200_000).astype(np.int8).tobytes()
    with ZipWriter(tmp_path / "a.zip") as archive:
        archive.add("noisy", [noise], NOISY)
        archive.add("repeating", [noise], REPEATING)
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        assert opened.getinfo("noisy").compress_size < 0.97 * opened.getinfo("repeating").compress_size


def test_an_error_on_the_way_leaves_no_archive(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"one"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"), ZipWriter(tmp_path / "a.zip") as archive:
        archive.add("x", chunks(), NOISY)
    assert not zipfile.is_zipfile(tmp_path / "a.zip")
