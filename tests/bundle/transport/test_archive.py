"""Archives: the same bytes each time, a bundle again at the other end, and nothing at all from a hostile one."""

import hashlib
import io
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle.base.errors import ArtifactError, InputError
from bundle.formats.artifacts import hash_folder
from bundle.formats.contents import MANIFEST
from bundle.formats.engines import write_engine_file
from bundle.formats.hash_files import with_hashes
from bundle.formats.manifest import load_bundle, write_manifest
from bundle.transport.archive import pack, unpack, unpack_beside
from tests.bundle.made import make_bundle, manifest, write_result

Entry = tuple[zipfile.ZipInfo, bytes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_bundle(tmp_path_factory.mktemp("packed") / "bundle", count=1).folder
    write_result(made, "regression.json", "{}")
    return made


@pytest.fixture(scope="module")
def archive(folder: Path) -> Path:
    return pack(folder, folder.with_name("bundle.zip"))


def entries(archive: Path) -> list[Entry]:
    with zipfile.ZipFile(archive) as opened:
        return [(entry, opened.read(entry)) for entry in opened.infolist()]


def rewrite(path: Path, found: list[Entry]) -> Path:
    """Write an archive of these entries, whatever they say of themselves."""
    with zipfile.ZipFile(path, "w") as opened:
        for entry, content in found:
            opened.writestr(entry, content)
    return path


def named(name: str, content: bytes = b"x", mode: int = 0) -> Entry:
    entry = zipfile.ZipInfo("placeholder")
    entry.filename, entry.external_attr = name, mode << 16
    return entry, content


def refused(archive: Path, tmp_path: Path, text: str, **options: int) -> None:
    """Unpack; expect the refusal; see that nothing was written anywhere."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArtifactError, match=text):
        unpack(archive, tmp_path / "deep" / "out", **options)
    if (tmp_path / "deep").exists():
        (tmp_path / "deep").rmdir()
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_packed_is_unpacked(folder: Path, archive: Path, tmp_path: Path) -> None:
    bundle = unpack(archive, tmp_path / "out")
    assert bundle == load_bundle(tmp_path / "out")
    assert hash_folder(tmp_path / "out") == hash_folder(folder)


def test_the_same_bundle_gives_the_same_bytes(folder: Path, archive: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    write_engine_file(copy, "f16.engine", b"of this device only")
    assert pack(copy, tmp_path / "other.zip").read_bytes() == archive.read_bytes()


def test_the_manifest_comes_first_and_every_entry_is_a_plain_file(archive: Path) -> None:
    found = [entry for entry, _ in entries(archive)]
    assert [entry.filename for entry in found] == [
        *with_hashes(MANIFEST),
        "f32.onnx",
        "fold.json",
        *with_hashes("regression.json"),
        "vectors.npz",
    ]
    assert {entry.external_attr >> 16 for entry in found} == {stat.S_IFREG | 0o644}


def test_an_altered_bundle_is_not_packed(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "fold.json").write_text("[1]")
    with pytest.raises(ArtifactError, match=r"fold\.json was altered"):
        pack(copy, tmp_path / "out.zip")
    assert sorted(os.listdir(tmp_path)) == ["copy"]


def test_an_archive_is_unpacked_beside_itself_once_and_never_over_another_bundle(archive: Path, tmp_path: Path) -> None:
    sent = Path(shutil.copyfile(archive, tmp_path / "default-jetson.zip"))
    folder = unpack_beside(sent)
    assert folder == tmp_path / "default-jetson" and load_bundle(folder).manifest.name == "made"
    (folder / "regression.json").unlink()
    assert unpack_beside(sent) == folder and not (folder / "regression.json").exists()
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes() + b" ")
    with pytest.raises(InputError, match="something here already"):
        unpack_beside(sent)


@pytest.mark.parametrize("name", ["bundle", "bundle.tar"])
def test_a_file_of_another_name_is_no_archive(archive: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="neither a bundle nor an archive"):
        unpack_beside(Path(shutil.copyfile(archive, tmp_path / name)))


@pytest.mark.parametrize("there", ["file", "folder"])
def test_nothing_is_unpacked_over_something(archive: Path, tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    (out if there == "file" else out / "file").parent.mkdir(exist_ok=True, parents=True)
    (out if there == "file" else out / "file").write_text("mine")
    with pytest.raises(InputError, match="something here already"):
        unpack(archive, out)
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def test_what_a_killed_run_left_is_swept_away(archive: Path, tmp_path: Path) -> None:
    left, others = f".out.{'0123' * 8}.tmp", {f".out.x.{'0123' * 8}.tmp", ".out.mine.tmp", f".oat.{'0123' * 8}.tmp"}
    for name in (left, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("ha")
    unpack(archive, tmp_path / "out")
    assert set(os.listdir(tmp_path)) == {"out", *others}, "what another run is writing stays"


def test_a_name_with_special_characters_is_no_pattern(archive: Path, tmp_path: Path) -> None:
    other = tmp_path / f".ab.{'0' * 32}.tmp"
    other.mkdir()
    unpack(archive, tmp_path / "a[b]")
    unpack(archive, tmp_path / "a*")
    assert other.is_dir()


def test_the_folder_one_stands_in_is_not_replaced(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the folder you are in") as caught:
        unpack(archive, Path("."))
    assert caught.value.where == "." and list(tmp_path.iterdir()) == []
    assert load_bundle(unpack(archive, Path("out")).folder).folder.resolve() == tmp_path / "out"


def test_a_folder_that_cannot_be_written_is_bad_input(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="cannot be written") as caught:
        unpack(archive, tmp_path / "file" / "out")
    assert "file" in caught.value.got


HOSTILE = {
    "a path upwards": (named("../evil"), "no plain path"),
    "a path upwards in the middle": (named("f32/../../evil"), "no plain path"),
    "an absolute path": (named("/tmp/evil"), "no plain path"),
    "a path with backslashes": (named("..\\evil"), "no plain path"),
    "a path with a dot": (named("./fold.json"), "no plain path"),
    "an empty name": (named(""), "no plain path"),
    "a control character": (named("fold\n.json"), "no plain path"),
    "an endless name": (named("x" * 300), "no plain path"),
    "an endless path": (named("/".join(["x" * 200] * 8)), "no plain path"),
    "a folder": (named("f32/", b""), "no plain path"),
    "a symbolic link": (named("link", b"/etc/passwd", stat.S_IFLNK | 0o777), "no plain file"),
    "a device": (named("null", b"", stat.S_IFCHR | 0o666), "no plain file"),
    "a pipe": (named("pipe", b"", stat.S_IFIFO | 0o666), "no plain file"),
    "a name twice": (named("fold.json", b"[]\n"), "occurs twice"),
    "a name in another case": (named("FOLD.json", b"[]\n"), "occurs twice"),
    "a file that is a folder too": (named("fold.json/x"), "is a file and a folder"),
    "a file nobody asked for": (named("run_me.py"), "no file of this bundle"),
    "an engine": (named("engines/f16.engine"), "no file of this bundle"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_entry_is_refused_and_nothing_is_written(archive: Path, tmp_path: Path, kind: str) -> None:
    entry, text = HOSTILE[kind]
    refused(rewrite(tmp_path / "hostile.zip", [*entries(archive), entry]), tmp_path, text)


SPOILT: dict[str, tuple[Callable[[list[Entry]], list[Entry]], str]] = {
    "nothing": (lambda found: [], "this is no bundle"),
    "no manifest": (lambda found: found[1:], "this is no bundle"),
    "an endless manifest": (lambda found: [(found[0][0], b" " * (17 << 20)), *found[1:]], "this is no bundle"),
    "an edited manifest": (
        lambda found: [(found[0][0], found[0][1].replace(b"made", b"fake")), *found[1:]],
        "was altered",
    ),
    "no vectors": (lambda found: found[:-1], "vectors.npz is missing"),
    "other vectors": (lambda found: [*found[:-1], (found[-1][0], b"none")], "vectors.npz was altered"),
    "another's result": (
        lambda found: [(entry, b"{}" if entry.filename == "regression.json" else content) for entry, content in found],
        "regression.json was altered",
    ),
    "too many": (lambda found: [named(f"{number}") for number in range(5000)], "too many entries"),
}


@pytest.mark.parametrize("name", ["engines/f16-0123.engine", "Engines/f16.engine", "journal/0123.jsonl"])
def test_what_a_device_writes_is_refused_even_where_the_manifest_lists_it(
    folder: Path, archive: Path, tmp_path: Path, name: str
) -> None:
    """An engine is executable code: whoever hashes a manifest anew must not bring one along."""
    listing = Path(shutil.copytree(folder, tmp_path / "listing"))
    digest = hashlib.sha256(b"code").hexdigest()
    good = manifest(folder)
    write_manifest(listing, good.model_copy(update={"files": {**good.files, name: digest}}))
    found = [
        (entry, (listing / entry.filename).read_bytes() if entry.filename in with_hashes(MANIFEST) else content)
        for entry, content in entries(archive)
        if entry.filename not in with_hashes("regression.json")
    ]
    refused(rewrite(tmp_path / "listed.zip", [*found, named(name, b"code")]), tmp_path, "no file that a bundle lists")


@pytest.mark.parametrize("kind", SPOILT)
def test_an_archive_of_something_else_is_refused(archive: Path, tmp_path: Path, kind: str) -> None:
    change, text = SPOILT[kind]
    refused(rewrite(tmp_path / "spoilt.zip", change(entries(archive))), tmp_path, text)


def test_a_bomb_is_refused_before_it_goes_off(folder: Path, tmp_path: Path) -> None:
    bomb = Path(shutil.copytree(folder, tmp_path / "bomb"))
    (bomb / "f32.onnx").write_bytes(bytes(64 << 20))
    (bomb / "regression.json").unlink()
    write_manifest(bomb, manifest(bomb))
    packed = pack(bomb, tmp_path / "bomb.zip")
    assert packed.stat().st_size < 1 << 20
    shutil.rmtree(bomb)
    refused(packed, tmp_path, "too large", max_bytes=32 << 20)


def test_an_entry_that_lies_about_its_size_is_refused(archive: Path, tmp_path: Path) -> None:
    found = entries(archive)
    content = bytearray(archive.read_bytes())
    size = len(found[-1][1])
    place = content.rindex(size.to_bytes(4, "little"))  # of the last entry, in the central directory
    content[place : place + 4] = (size - 1).to_bytes(4, "little")
    (tmp_path / "liar.zip").write_bytes(content)
    refused(tmp_path / "liar.zip", tmp_path, "cannot be read|was altered")


def test_an_encrypted_entry_and_another_compression_are_refused(archive: Path, tmp_path: Path) -> None:
    content = bytearray(archive.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    (tmp_path / "locked.zip").write_bytes(content[: place + 8] + b"\x01" + content[place + 9 :])
    refused(tmp_path / "locked.zip", tmp_path, "is encrypted")
    (tmp_path / "lzma.zip").write_bytes(content[: place + 10] + b"\x0e" + content[place + 11 :])
    refused(tmp_path / "lzma.zip", tmp_path, "compressed in another way")


def test_no_archive_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.zip", tmp_path, "no such archive")
    refused(tmp_path, tmp_path, "a folder, no archive")
    (tmp_path / "text.zip").write_text("not a zip")
    refused(tmp_path / "text.zip", tmp_path, "cannot be read")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_an_archive_cut_short_is_refused(archive: Path, tmp_path: Path, share: float) -> None:
    content = archive.read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: int(share * len(content))])
    refused(tmp_path / "cut.zip", tmp_path, "cannot be read")


@pytest.mark.slow
@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_damaged_archive_gives_the_bundle_or_nothing(
    folder: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = np.frombuffer(archive.read_bytes(), np.uint8).copy()
    headers = [int(place) for place in np.flatnonzero(content == ord("P")) if content[place + 1 : place + 2] == b"K"[0]]
    near = st.sampled_from(headers).flatmap(lambda place: st.integers(place, min(place + 60, len(content) - 1)))
    for place in data.draw(st.lists(near | st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    base = tmp_path_factory.mktemp("damaged")
    damaged = base / "damaged.zip"
    damaged.write_bytes(io.BytesIO(content.tobytes()).getvalue())
    try:
        unpack(damaged, base / "out")
    except ArtifactError:
        assert sorted(os.listdir(base)) == ["damaged.zip"]
    else:
        assert hash_folder(base / "out") == hash_folder(folder)
    shutil.rmtree(base)
