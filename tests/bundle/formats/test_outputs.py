"""Outputs: what may be replaced and written over, what may not, and that a kill or a full disk loses nothing."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bundle.base.errors import InputError
from bundle.formats import outputs
from bundle.formats.artifacts import SIDECAR, Exported, Folded, Record, hash_folder, load, write_record
from bundle.formats.outputs import (
    LONGEST_NAME,
    anything,
    artifact,
    json_object,
    marked,
    nothing,
    only,
    overwrite,
    overwriting,
    replacing,
    require_container,
    require_file,
    require_folder,
    sweep,
    zip_with,
)

ROOT = Path(__file__).resolve().parents[3]
HEX = "0123456789abcdef" * 2
RULE = artifact(Folded)


def make(folder: Path, text: str = "weights", kind: str = "folded") -> Path:
    """Write an artifact with a file in a folder of its own."""
    (folder / "plan").mkdir(parents=True)
    (folder / "plan" / "steps.json").write_text(text)
    record = Record(kind=kind, files=hash_folder(folder), parent=None, settings={}, tools={}, outputs=(), inputs=())
    write_record(folder, record)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_empty_folder_and_an_artifact_of_the_same_kind_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for text in ("one", "two", "three"):
        with replacing(tmp_path / "out", RULE) as folder:
            make(folder / "inner", text)
            for path in (folder / "inner").iterdir():
                path.rename(folder / path.name)
            (folder / "inner").rmdir()
        assert (load(Folded, tmp_path / "out").folder / "plan" / "steps.json").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _foreign_file(out: Path) -> None:
    make(out)
    (out / "thesis.txt").write_text("five years")


def _foreign_file_inside(out: Path) -> None:
    make(out)
    (out / "plan" / "notes.txt").write_text("mine")


def _foreign_folder(out: Path) -> None:
    make(out)
    (out / "empty").mkdir()


def _link(out: Path) -> None:
    make(out)
    (out / "data").symlink_to(out.parent)


def _edited(out: Path) -> None:
    make(out)
    (out / "plan" / "steps.json").write_text("what somebody changed")


def _own(out: Path) -> None:
    out.mkdir()
    (out / "photo.jpg").write_bytes(b"jpeg")


def _broken(out: Path) -> None:
    make(out)
    (out / SIDECAR).write_text("{}")


def _missing(out: Path) -> None:
    make(out)
    (out / "plan" / "steps.json").unlink()


THERE: dict[str, Callable[[Path], object]] = {
    "somebody's folder": _own,
    "a file beside the record": _foreign_file,
    "a file in its folders": _foreign_file_inside,
    "an empty folder beside it": _foreign_folder,
    "a link": _link,
    "another kind": lambda out: make(out, kind="exported"),
    "an edited file": _edited,
    "a record that cannot be read": _broken,
    "a file less": _missing,
    "a file": lambda out: out.write_text("mine"),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("there", THERE)
def test_anything_else_is_refused_before_work_starts_and_left_as_it_is(tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    THERE[there](out)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="there is something here") as caught:
        require_folder(out, RULE)
    assert caught.value.exit_code == 2 and caught.value.where == str(out)
    with pytest.raises(InputError, match="there is something here"), replacing(out, RULE):
        pytest.fail("work began")
    assert tree(tmp_path) == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("exchange", [True, False])
def test_what_comes_while_the_work_goes_on_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    make(tmp_path / "out")
    if not exchange:
        monkeypatch.setattr(outputs, "_exchange", lambda one, other: False)
    with pytest.raises(InputError, match="there is something here"), replacing(tmp_path / "out", RULE) as folder:
        (folder / "new").write_text("new")
        (tmp_path / "out" / "thesis.txt").write_text("five years")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "five years"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("exchange", [True, False])
def test_what_comes_in_the_last_moment_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    make(tmp_path / "out")
    swap = outputs._exchange

    def late(one: Path, other: Path) -> bool:
        (other / "thesis.txt").write_text("five years")
        return swap(one, other) if exchange else False

    monkeypatch.setattr(outputs, "_exchange", late)
    with pytest.raises(InputError, match="in the meantime"), replacing(tmp_path / "out", RULE) as folder:
        (folder / "new").write_text("new")
    assert set(tree(tmp_path)) == {"out/thesis.txt", "out/artifact.json", "out/plan/steps.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_came_where_none_was_is_not_lost(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is something here"), replacing(tmp_path / "out", RULE) as folder:
        (folder / "new").write_text("new")
        _own(tmp_path / "out")
    assert set(tree(tmp_path)) == {"out/photo.jpg"}


@pytest.mark.parametrize("name", [".", "..", "/", "/proc", "link"])
def test_the_folder_one_stands_in_and_what_holds_it_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "here" / "inner").mkdir(parents=True)
    (tmp_path / "here" / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "here" / "inner")
    with pytest.raises(InputError, match="the folder you are in"):
        require_folder(Path(name) if name != "link" else tmp_path / "here" / "link", anything)


@pytest.mark.parametrize(
    ("out", "how"),
    [
        ("model", "is"),
        ("model/", "is"),
        ("./x/../model", "is"),
        ("link", "is"),
        ("model/new", "is inside"),
        ("link/new", "is inside"),
        (".", "holds"),
        ("link-up", "holds"),
        ("model/config.toml", "is inside"),
    ],
)
def test_an_output_that_is_an_input_or_inside_or_around_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, how: str
) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "model")
    (tmp_path / "link-up").symlink_to(tmp_path)
    for require in (
        lambda: require_folder(tmp_path / out, anything, [tmp_path / "model"]),
        lambda: require_file(tmp_path / out, marked(b""), [tmp_path / "model"]),
    ):
        with pytest.raises(InputError, match=f"the output {how} an input"):
            require()
    with pytest.raises(InputError, match="the output is an input"):
        require_folder(tmp_path / "link", anything, [tmp_path / "link"])


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    make(tmp_path / "real")
    (tmp_path / "out").symlink_to(tmp_path / "real")
    with replacing(tmp_path / "out", RULE) as folder:
        (folder / "new").write_text("new")
    assert (tmp_path / "out").is_symlink() and set(tree(tmp_path / "real")) == {"new"}


@pytest.mark.parametrize(
    "out", ["file/out", "file/deep/out", "/proc/out", "x" * 300, "x" * 300 + "/out", "a\0b", "loop/out"]
)
def test_what_cannot_be_written_is_refused_before_work_starts(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    for require in (
        lambda: require_folder(tmp_path / out, RULE),
        lambda: require_file(tmp_path / out, marked(b"x")),
        lambda: require_container(tmp_path / out),
    ):
        with pytest.raises(InputError) as caught:
            require()
        assert caught.value.exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]


def test_a_name_is_as_long_as_its_temporary_one_allows(tmp_path: Path) -> None:
    with replacing(tmp_path / ("x" * LONGEST_NAME), RULE) as folder:
        make(folder / "a")
    with pytest.raises(InputError, match="cannot be the name"):
        require_folder(tmp_path / ("x" * (LONGEST_NAME + 1)), RULE)


def test_a_place_for_folders_is_made_or_kept_and_never_a_file(tmp_path: Path) -> None:
    _own(tmp_path / "kept")
    require_container(tmp_path / "kept")
    require_container(tmp_path / "new" / "deep")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot be written"):
        require_container(tmp_path / "file")
    assert set(tree(tmp_path)) == {"kept/photo.jpg", "file"}


def test_rules_name_what_is_in_the_way(tmp_path: Path) -> None:
    _own(tmp_path / "out")
    assert nothing(tmp_path / "out").startswith("photo.jpg")
    assert only("photo.jpg")(tmp_path / "out") == "" == anything(tmp_path / "out")
    (tmp_path / "out" / f".photo.jpg.{HEX}.tmp").write_text("half")
    assert only("photo.jpg")(tmp_path / "out") == "" and only("other")(tmp_path / "out").startswith("photo.jpg")
    assert artifact(Exported)(make(tmp_path / "folded")) == "this is no exported artifact"


KINDS = {
    "json": (json_object("model", "tasks"), b'{"model": 1, "tasks": 2, "more": 3}', b'{"model": 1}'),
    "rows": (json_object("name"), b'[{"name": 1}]', b'[{"name": 1}, 2]'),
    "an empty list": (json_object("name"), b'[{"name": 1}]', b"[]"),
    "deep json": (json_object("name"), b'{"name": 1}', b"[" * 100_000),
    "no json": (json_object("name"), b'{"name": 1}', b"\xff\xfe"),
    "text": (marked(b"made by us"), b"head\nmade by us\n", b"made by them"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_written_over_only_if_it_is_of_its_kind(tmp_path: Path, name: str) -> None:
    kind, own, other = KINDS[name]
    out = tmp_path / "new" / "out"
    overwrite(out, own.decode(), kind)
    overwrite(out, own.decode() + " ", kind)
    assert out.read_bytes() == own + b" "
    out.write_bytes(other)
    with pytest.raises(InputError, match="there is something here"):
        overwrite(out, own.decode(), kind)
    with pytest.raises(InputError, match="there is something here"), overwriting(tmp_path / "out", kind) as temporary:
        temporary.write_bytes(own)
        (tmp_path / "out").write_bytes(other)
    assert out.read_bytes() == other == (tmp_path / "out").read_bytes()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "out", "out"]


def test_an_archive_is_known_by_its_members(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("manifest.json", "{}")
    require_file(tmp_path / "a.zip", zip_with("manifest.json"))
    (tmp_path / "b.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:-5])
    for path, name in (("a.zip", "other"), ("b.zip", "manifest.json")):
        with pytest.raises(InputError, match="there is something here"):
            require_file(tmp_path / path, zip_with(name))


@pytest.mark.parametrize("out", ["/dev/null", "folder", "pipe"])
def test_what_is_no_regular_file_is_never_written_over(tmp_path: Path, out: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="there is something here"):
        require_file(tmp_path / out, marked(b""))


def test_replacing_works_where_two_names_cannot_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_exchange", lambda one, other: False)
    for content in ("old", "new"):
        with replacing(tmp_path / "out", only("old", "new")) as folder:
            (folder / content).write_text(content)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "new"]


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    make(tmp_path / "out")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "out", RULE) as folder:
        (folder / "half").write_text("half")
        raise ZeroDivisionError
    load(Folded, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


KILLED = """
import os, signal, sys
from pathlib import Path
from bundle.formats import outputs
moment, exchange, rename = sys.argv[2], outputs._exchange, os.rename
def stop():
    os.kill(os.getpid(), signal.SIGKILL)
if moment == "after the exchange":
    outputs._exchange = lambda one, other: exchange(one, other) and stop()
if moment == "between two renames":
    outputs._exchange = lambda one, other: False
    os.rename = lambda one, other: stop() if str(other) == sys.argv[1] else rename(one, other)
with outputs.replacing(Path(sys.argv[1]), outputs.only("old", "new")) as folder:
    (folder / "new").write_text("new")
    if moment == "before":
        stop()
"""


@pytest.mark.parametrize(
    ("moment", "left"), [("before", "old"), ("after the exchange", "new"), ("between two renames", "old")]
)
def test_a_kill_leaves_the_old_folder_or_the_new_one(tmp_path: Path, moment: str, left: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "out"), moment], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    sweep(tmp_path, only("old", "new"), "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", left]


def test_a_sweep_touches_nothing_that_no_run_left(tmp_path: Path) -> None:
    mine = [".out.backup.tmp", ".out.0123.old", "out.tmp", f".other.{HEX}.tmp", f"out.{HEX}.tmp", ".tmp"]
    for name in mine:
        (tmp_path / name).mkdir()
    (tmp_path / f".out.{HEX}.tmp").mkdir()
    make(tmp_path / f".out.{HEX}.old")
    make(tmp_path / f".out.{HEX[::-1]}.old")
    (tmp_path / f".out.{HEX[::-1]}.old" / "thesis.txt").write_text("five years")
    make(tmp_path / "out")
    sweep(tmp_path, RULE, "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, "out", f".out.{HEX[::-1]}.old"])


def test_another_error_of_the_system_keeps_its_own_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "out", RULE):
        (tmp_path / "no such image").read_bytes()
    with pytest.raises(json.JSONDecodeError), replacing(tmp_path / "out", RULE):
        json.loads("{")
    assert not list(tmp_path.iterdir())
