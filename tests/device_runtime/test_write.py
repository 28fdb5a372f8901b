"""What is in the runtime file: the same bytes each time, all that its files import of ours, and nothing of the host."""

import ast
import hashlib
import json
import os
import re
import subprocess
import sys
import zipapp
import zipfile
from pathlib import Path

import pytest

from bundle.base.errors import InputError
from bundle.base.isolated import OURS
from device_runtime import write
from device_runtime.write import RUNTIME, content, write_runtime
from targets.table import TARGETS
from tests.architecture.source import ROOT, _imports
from tests.bundle.made_onnx import make
from tests.cli.run import tdss

AGAIN = """
import hashlib, os, sys, time
os.umask(0o077)
time.tzset()
sys.path.insert(0, sys.argv[1])
from device_runtime.write import content
print(hashlib.sha256(content()).hexdigest())
"""


def test_two_processes_in_two_time_zones_make_the_same_bytes(runtime: Path) -> None:
    env = {**os.environ, "TZ": "Asia/Tokyo"}
    done = subprocess.run([sys.executable, "-I", "-c", AGAIN, str(ROOT)], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == hashlib.sha256(runtime.read_bytes()).hexdigest(), done.stderr
    with zipfile.ZipFile(runtime) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    assert {(entry.date_time, entry.external_attr >> 16, entry.compress_type) for entry in entries} == {
        ((1980, 1, 1, 0, 0, 0), 0o100644, zipfile.ZIP_STORED)
    }


def test_python_and_sha256sum_take_it(runtime: Path) -> None:
    assert zipapp.get_interpreter(runtime) == "/usr/bin/env python3"
    done = subprocess.run(["sha256sum", "-c", f"{RUNTIME}.sha256"], cwd=runtime.parent, capture_output=True, text=True)
    assert done.stdout == f"{RUNTIME}: OK\n"


@pytest.mark.parametrize("page", ["README.md", "docs/guides/device.md"])
def test_a_page_states_the_size_that_it_has(runtime: Path, page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    stated = re.findall(r"(?:the code that judges it|`tests/regression`),? \(?(\d+\.\d) MB", text)
    assert stated == [f"{runtime.stat().st_size / 1e6:.1f}"]


def test_it_holds_what_its_files_import_of_ours_and_nothing_of_the_host(runtime: Path) -> None:
    with zipfile.ZipFile(runtime) as archive:
        source = {name: archive.read(name) for name in archive.namelist() if name.endswith(".py")}
        others = set(archive.namelist()) - set(source)
    assert others == {"suite/pyproject.toml", *(f"targets/{name}/profile.json" for name in TARGETS)}
    assert {name.partition("/")[0] for name in source} == {
        "__main__.py",
        "bundle",
        "device_runtime",
        "predict",
        "suite",
        "targets",
    }
    imported = {name for text in source.values() for name, _ in _imports(ast.parse(text))}
    here = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in source}
    ours = {name for name in imported if name.partition(".")[0] in OURS}
    assert {name for name in ours if name not in here and name.rpartition(".")[0] not in here} == set()
    assert {"torch", "onnx"}.isdisjoint(name.partition(".")[0] for name in imported)
    assert "bundle.judging.run" in here and "targets.intel.session" in here


def test_a_file_that_is_none_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / RUNTIME).write_text("mine")
    with pytest.raises(InputError, match="something here already"):
        write_runtime(tmp_path / RUNTIME)
    assert (tmp_path / RUNTIME).read_text() == "mine"


def test_an_installation_without_the_suite_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "ROOT", tmp_path)
    with pytest.raises(InputError, match="made in a checkout"):
        write_runtime(tmp_path / RUNTIME)
    assert not (tmp_path / RUNTIME).exists()


def test_the_command_writes_it(runtime: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "a.pyz"
    code, text, _ = tdss("runtime", "--out", str(out), "--json", capsys=capsys)
    digest = hashlib.sha256(content()).hexdigest()
    assert code == 0 and json.loads(text) == {"runtime": str(out), "bytes": out.stat().st_size, "sha256": digest}
    assert out.read_bytes() == runtime.read_bytes()


def test_pack_writes_it_beside_the_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = make(tmp_path / "made", "reference"), tmp_path / "out" / "b.zip"
    code, text, _ = tdss("bundle", "pack", str(folder), "--out", str(out), "--json", capsys=capsys)
    answer = json.loads(text)
    assert code == 0 and answer["archive"] == str(out) and answer["runtime"]["runtime"] == str(out.parent / RUNTIME)
    with zipfile.ZipFile(out) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".py", ".pyz"))]
    assert hashlib.sha256((out.parent / RUNTIME).read_bytes()).hexdigest() == answer["runtime"]["sha256"]


def test_pack_writes_nothing_where_the_runtime_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(tmp_path / "made", "reference")
    (tmp_path / RUNTIME).write_text("mine")
    code, _, err = tdss("bundle", "pack", str(folder), capsys=capsys)
    assert code == 2 and RUNTIME in err and not (tmp_path / "made.zip").exists()
