"""A full disk while an output is written: an error with its path, and the old output stays."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundle.formats.test_outputs import ROOT, make, tree

FULL = """
import os, resource, signal, sys
from pathlib import Path
from bundle.formats.outputs import anything, marked, overwrite, replacing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    if sys.argv[2] == "file":
        overwrite(Path(sys.argv[1]), "x" * 5000, marked(b"old"))
    else:
        with replacing(Path(sys.argv[1]), anything) as folder:
            (folder / "big").write_text("x" * 5000)
except Exception as error:
    os.write(1, f"{type(error).__name__}|{error.got}|{error.where}".encode())
"""


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_full_disk_is_an_error_with_the_path_and_leaves_the_old_output(tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    out.write_text("old") if what == "file" else make(out)
    before = tree(tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(out), what], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == f"InputError|File too large|{out}"
    assert tree(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["out"]
