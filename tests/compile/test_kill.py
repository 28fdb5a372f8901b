"""A build that is killed in any stage, and started again, leaves what a calm one leaves."""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bundle.formats.hash_files import with_hashes
from compile.stage.store import STORE
from tests.compile.made import STAGES, command

pytestmark = pytest.mark.slow
OTHERS = (".lock", *with_hashes("report.html"))


def snapshot(out: Path) -> dict[str, str]:
    """Hashes of every file of the store and the bundle, without what a lock or a page may hold."""
    files = [path for path in out.rglob("*") if path.is_file() and path.name not in OTHERS]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


ATTEMPTS = 10


def kill_when(line: list[str], folder: Path) -> None:
    """Start a build; kill it and all it started as soon as a temporary folder appears in ``folder``.

    On a busy machine a quick stage may end before it is seen: it is made again then.
    """
    for _ in range(ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        with subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            while process.poll() is None and not any(folder.glob(".*.tmp")):
                time.sleep(0.002)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        if process.returncode == -signal.SIGKILL and not any(folder.glob("[!.]*")):
            return
    raise AssertionError(f"no build was killed while it wrote below {folder}")


def test_a_kill_in_each_stage_changes_nothing(checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    subprocess.run(command(checkpoint, scenes, calm), check=True, capture_output=True)
    line = command(checkpoint, scenes, rough)
    for folder in (*(rough / STORE / stage for stage in STAGES), rough / "tiny"):
        kill_when(line, folder)
    subprocess.run(line, check=True, capture_output=True)
    expected = snapshot(calm)
    assert len(expected) > 20 and "tiny/jetson/manifest.json" in expected
    assert snapshot(rough) == expected
    assert not [path for path in rough.rglob("*") if path.name.endswith((".tmp", ".old"))]
