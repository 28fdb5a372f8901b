"""The store's entries: what is listed, what goes first, and that nothing goes under a build."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from select import select

import pytest

from bundle.base.errors import InputError
from bundle.formats.artifacts import SIDECAR, Exported, hash_folder, load
from compile.stage import store
from compile.stage.prune import choose, entries, prune, read_age, read_size
from compile.stage.store import StageKey, in_use, keep, obtain, seal, writing
from tests.cli.run import tdss
from tests.compile.made import quiet

DAY = 86_400.0
ROOT = Path(store.__file__).resolve().parents[2]


def stage_key(number: int) -> StageKey:
    """A question of its own."""
    return StageKey(stage="export", inputs=(str(number),), settings={}, code="c", tools={})


def make(folder: Path) -> Exported:
    """Write an artifact of about 1000 bytes."""
    with writing(folder, Exported) as temporary:
        (temporary / "model.onnx").write_bytes(bytes(1000))
        seal(Exported, temporary, tools={})
    return load(Exported, folder)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store of three exports and a calibration, used 4, 3, 2 and 1 days ago, and what is no entry."""
    root, now = tmp_path / ".store", time.time()
    with in_use(root):  # as a build does
        pass
    for number in range(3):
        folder = obtain(root, Exported, stage_key(number), make, quiet).folder
        os.utime(folder / SIDECAR, (now, now - (4 - number) * DAY))
    key = StageKey(stage="calibrate", inputs=(), settings={}, code="c", tools={})
    kept = keep(root, key, lambda folder: (folder / "calibrated.onnx").write_bytes(bytes(300)), quiet)
    os.utime(kept.folder / SIDECAR, (now, now - DAY))
    (root / "export" / "notes").mkdir()
    (root / "export" / "notes" / SIDECAR).write_text("mine")
    (root / "export" / ("f" * 24)).mkdir()
    (root / "linked").symlink_to(root / "export")
    return root


def test_the_list_has_every_entry_the_least_recently_used_first(filled: Path) -> None:
    found = entries(filled)
    assert [one.stage for one in found] == ["export", "export", "export", "calibrate"]
    assert [one.key for one in found[:3]] == [stage_key(number).digest for number in range(3)]
    assert [one.kind for one in found] == ["exported"] * 3 + ["kept"]
    for one in found:
        files = [path for path in (filled / one.stage / one.key).iterdir() if path.is_file()]
        assert one.bytes == sum(path.stat().st_size for path in files)


def test_a_hit_counts_as_a_use_and_changes_no_hash(filled: Path) -> None:
    before = hash_folder(filled)
    obtain(filled, Exported, stage_key(0), lambda folder: pytest.fail("it ran again"), quiet)
    assert hash_folder(filled) == before
    assert entries(filled)[-1].key == stage_key(0).digest and time.time() - entries(filled)[-1].last_use < DAY


def test_a_record_that_cannot_be_read_is_listed_as_damaged(filled: Path) -> None:
    (filled / "export" / stage_key(1).digest / SIDECAR).write_text("{")
    assert {one.key: one.kind for one in entries(filled)}[stage_key(1).digest] == "damaged"


def test_age_goes_first_then_size_and_the_rest_fits(filled: Path) -> None:
    found, now = entries(filled), time.time()
    total = sum(one.bytes for one in found)
    assert choose(found, max_bytes=inf, older_than_s=inf, now=now) == ()
    assert choose(found, max_bytes=inf, older_than_s=2.5 * DAY, now=now) == found[:2]
    assert choose(found, max_bytes=total, older_than_s=inf, now=now) == ()
    assert choose(found, max_bytes=total - 1, older_than_s=inf, now=now) == found[:1]
    assert choose(found, max_bytes=total - found[0].bytes - 1, older_than_s=3.5 * DAY, now=now) == found[:2]
    assert choose(found, max_bytes=0, older_than_s=inf, now=now) == found


def test_what_is_pruned_is_gone_and_nothing_else_is(filled: Path) -> None:
    old = [filled / "export" / stage_key(number).digest for number in (0, 1)]
    kept = {name for name in hash_folder(filled) if not any(name.startswith(f"export/{one.name}") for one in old)}
    gone = prune(filled, max_bytes=inf, older_than_s=2.5 * DAY, say=quiet)
    assert [one.key for one in gone] == [one.name for one in old] and not any(one.exists() for one in old)
    assert {name for name in hash_folder(filled) if not name.endswith(".lock")} == {
        name for name in kept if not name.endswith(".lock")
    }
    assert obtain(filled, Exported, stage_key(0), make, quiet).folder == old[0]


BUILDS = """
import sys, time
from pathlib import Path
from compile.stage.store import in_use, obtain
from tests.compile.stage.test_prune import make, stage_key
from bundle.formats.artifacts import Exported
with in_use(Path(sys.argv[1])):
    for number in (0, 7):  # one that is there, and a new one
        obtain(Path(sys.argv[1]), Exported, stage_key(number), make, lambda line: None)
    print("builds", flush=True)
    sys.stdin.readline()
"""
PRUNES = "import sys; from cli.main import run; run(['store', 'prune', '--store', sys.argv[1], '--max-bytes', '0'])"


@contextmanager
def started(code: str, root: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Run code in another process; it is killed in the end."""
    command = [sys.executable, "-c", code, str(root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, bufsize=0, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_prune_waits_while_another_process_builds(filled: Path) -> None:
    with started(BUILDS, filled) as build:
        assert build.stdout is not None and build.stdin is not None and build.stdout.readline() == b"builds\n"
        used = [filled / "export" / stage_key(number).digest for number in (0, 7)]
        with started(PRUNES, filled) as pruning:
            assert pruning.stderr is not None and pruning.stdout is not None
            assert pruning.stderr.readline().endswith(b"waiting until it ends\n")
            assert select([pruning.stdout], [], [], 0.5)[0] == [] and len(entries(filled)) == 5
            for one in used:
                load(Exported, one)
            build.stdin.write(b"\n")
            assert pruning.stdout.read().endswith(b"removed\n") and pruning.wait() == 0
    assert entries(filled) == ()


@pytest.mark.slow
def test_builds_share_a_store_and_a_killed_one_lets_go(filled: Path) -> None:
    with started(BUILDS, filled) as build:
        assert build.stdout is not None and build.stdout.readline() == b"builds\n"
        with in_use(filled):
            pass
        build.kill()
        build.wait()
        assert len(prune(filled, max_bytes=0, older_than_s=inf, say=pytest.fail)) == 5


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("12", 12), ("2GB", 2 * 10**9), ("1.5 MiB", 3 << 19), ("3k", 3000), ("7b", 7)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("30d", 30 * DAY), ("12h", DAY / 2), ("2 w", 14 * DAY), ("0s", 0.0)])
def test_ages_are_read(text: str, seconds: float) -> None:
    assert read_age(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e9", "2XB", "1" * 5000, "GB", "30", "1.2.3MB"])
def test_what_is_no_size_and_no_age_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="this is no age"):
        read_age(text)
    if text != "30":
        with pytest.raises(InputError, match="this is no size"):
            read_size(text)


def test_the_commands_list_and_prune(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--store", str(filled))
    code, out, _ = tdss("store", "list", *where, "--json", capsys=capsys)
    assert code == 0 and [row["kind"] for row in json.loads(out)] == ["exported"] * 3 + ["kept"]
    code, out, _ = tdss("store", "list", *where, capsys=capsys)
    assert code == 0 and out.count("\n") == 5 and "used 4 d ago" in out and "4 entries, " in out
    words = ("store", "prune", *where, "--older-than", "60h")
    code, out, _ = tdss(*words, "--dry-run", "--json", capsys=capsys)
    assert code == 0 and len(json.loads(out)["removed"]) == 2 and len(entries(filled)) == 4
    code, out, _ = tdss(*words, "--max-bytes", "1kB", capsys=capsys)
    assert code == 0 and out.endswith("removed\n") and [one.kind for one in entries(filled)] == ["kept"]


@pytest.mark.parametrize(
    "words", [("list",), ("prune", "--max-bytes", "0"), ("prune", "--max-bytes", "0", "--dry-run")]
)
def test_without_a_store_the_commands_say_so(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = tdss("store", *words, "--store", str(tmp_path / "none"), capsys=capsys)
    assert code == 2 and "there is no store here" in err and not (tmp_path / "none").exists()


def test_a_folder_that_is_no_store_is_refused_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("mine")
    for words in (("list",), ("prune", "--older-than", "1s")):
        code, _, err = tdss("store", *words, "--store", str(tmp_path), capsys=capsys)
        assert code == 2 and "there is no store here" in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_prune_without_a_limit_is_refused(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = tdss("store", "prune", "--store", str(filled), capsys=capsys)
    assert code == 2 and "--older-than" in err and len(entries(filled)) == 4
