"""The bytes that were checked are the bytes that are used: a folder that is swapped in between never passes.

Each test swaps at one known moment, right behind a check: no race is run, so none is won by chance.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.formats import manifest as manifest_module
from bundle.formats import results as results_module
from bundle.formats.contents import MANIFEST
from bundle.formats.engines import read_engine_file, write_engine_file
from bundle.formats.manifest import Bundle, load_bundle, verify_bundle, write_manifest
from bundle.formats.results import read_manifest_bytes, read_result
from bundle.judging.choice import Candidate, Choice, Rule, pick
from bundle.judging.harness import Options, judge_bundle
from bundle.transport.archive import pack, unpack
from bundle.transport.signature import load_trusted, make_keys, sign
from tests.bundle.made import HERE, make_bundle, manifest, session, write_result


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_keys(tmp_path_factory.mktemp("keys") / "release")


def chose(name: str, rule: Rule) -> Choice:
    """A choice that a device wrote."""
    candidate = Candidate(name=name, latency_ms=None, verdicts={})
    return Choice(shipped=name, rule=rule, eager_ms=None, candidates=(candidate,))


@pytest.fixture
def folder(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    """A signed bundle of a strict budget."""
    made = make_bundle(tmp_path / "good", count=2)
    made.write("choice.json", chose("f32", "narrowest"))
    sign(made.folder, keys[0])
    return made.folder


@pytest.fixture
def hostile(folder: Path, tmp_path: Path) -> Path:
    """Another graph under generous budgets, sound by its hashes; the signature is not its own."""
    made = make_bundle(tmp_path / "hostile", count=2).folder
    (made / "f32.onnx").write_bytes(b"another graph")
    write_manifest(made, manifest(made, budget=0.9))
    write_result(made, "signature.json", read_result(folder, "signature.json").decode())
    load_bundle(made)
    return made


def swap(folder: Path, hostile: Path) -> None:
    os.rename(folder, folder.with_name("aside"))
    shutil.copytree(hostile, folder)


def then(monkeypatch: pytest.MonkeyPatch, module: object, name: str, act: Callable[[], None]) -> None:
    """Act once, right behind the first call of ``module.name``."""
    real, done = getattr(module, name), []

    def wrapped(*given: object, **named: object) -> object:
        answer = real(*given, **named)
        if not done:
            done.append(name)
            act()
        return answer

    monkeypatch.setattr(module, name, wrapped)


MOMENTS = [
    (manifest_module, "read_manifest_bytes", "f32.onnx was altered"),
    (manifest_module, "check_contents", "f32.onnx was altered"),
    (manifest_module, "verify_files", "signature.json belongs to another bundle"),
    (results_module, "read_tied", "signature.json belongs to another bundle"),
    (manifest_module, "check_engines", ""),
]


@pytest.mark.parametrize(("module", "name", "refusal"), MOMENTS)
def test_a_folder_swapped_while_it_is_opened_never_passes_with_a_key(
    folder: Path,
    hostile: Path,
    keys: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    name: str,
    refusal: str,
) -> None:
    """It is refused; or, swapped after the last check, what was opened is the signed bundle and no other byte is read."""
    signed = load_bundle(folder).manifest
    then(monkeypatch, module, name, lambda: swap(folder, hostile))
    if refusal:
        with pytest.raises(ArtifactError, match=f"^{refusal}"):
            load_trusted(folder, keys[1])
        return
    opened = load_trusted(folder, keys[1])
    assert opened.manifest == signed and load_bundle(folder).manifest != signed
    with pytest.raises(ArtifactError, match=r"^f32\.onnx was altered"):
        opened.read("f32.onnx")


def test_the_manifest_is_read_once(folder: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *given, **named: reads.append(path.name) or real(path, *given, **named)
    )
    load_trusted(folder, keys[1])
    assert reads.count(MANIFEST) == 1 and reads.count("choice.json") == 1 and reads.count("signature.json") == 1


def test_a_file_changed_after_the_bundle_was_opened_is_refused_by_name(folder: Path) -> None:
    opened = load_bundle(folder)
    for name in opened.manifest.files:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + b"x")
        with pytest.raises(ArtifactError, match=f"^{name} was altered"):
            opened.read(name)
        with pytest.raises(ArtifactError, match=f"^{name} was altered"), opened.copied([name]):
            raise AssertionError("nothing is yielded")
        (folder / name).write_bytes(whole)
    with pytest.raises(ArtifactError, match=r"notes\.txt is not listed"):
        opened.read("notes.txt")


def test_a_private_copy_is_not_the_folder_and_is_gone_afterwards(folder: Path, hostile: Path) -> None:
    opened = load_bundle(folder)
    with opened.copied(["f32.onnx", "f32.onnx"]) as private:
        content = (folder / "f32.onnx").read_bytes()
        swap(folder, hostile)
        assert (private / "f32.onnx").read_bytes() == content != (folder / "f32.onnx").read_bytes()
        assert private.stat().st_mode & 0o077 == 0
    assert not private.exists()


def test_an_error_names_the_bundles_folder_not_the_private_copy(folder: Path) -> None:
    with pytest.raises(ArtifactError) as caught, load_bundle(folder).copied(["f32.onnx"]) as private:
        raise ArtifactError(
            "no", expected="a", got=f"bad: {private}/f32.onnx", where=str(private / "f32.onnx"), fix="b"
        )
    assert caught.value.where == str(folder / "f32.onnx") and caught.value.got == f"bad: {folder}/f32.onnx"


def test_the_choice_is_the_one_that_was_opened(folder: Path) -> None:
    opened = load_bundle(folder)
    opened.write("choice.json", chose("int8", "none_within"))
    assert pick(opened, "") == ("f32", "choice", chose("f32", "narrowest").model_copy(update={"bundle": opened.sha256}))


def test_a_judgement_names_the_bundle_that_was_opened(folder: Path, hostile: Path) -> None:
    opened = load_bundle(folder)

    def infer(feed: dict[str, object]) -> dict[str, object]:
        if not (folder.with_name("aside")).exists():
            swap(folder, hostile)
        return session("raw")(feed)

    judged = judge_bundle(opened, infer, HERE, Options(resamples=20))
    assert judged.path == folder / "regression.json"
    with pytest.raises(ArtifactError, match=r"regression\.json belongs to another bundle"):
        load_bundle(folder)


def test_an_archive_holds_what_was_verified_or_is_not_written(
    folder: Path, hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bundle.transport import archive as archive_module

    then(monkeypatch, archive_module, "verify_bundle", lambda: swap(folder, hostile))
    with pytest.raises(ArtifactError, match=r"was altered"):
        pack(folder, tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_what_is_unpacked_is_what_the_signature_was_checked_over(
    folder: Path, hostile: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary folder's manifest is exchanged as soon as it is there: the signature is of another one."""
    from bundle.transport import archive as archive_module

    archive = pack(folder, tmp_path / "good.zip")

    def exchange() -> None:
        [temporary] = tmp_path.glob(".out.*.tmp")
        shutil.copyfile(hostile / MANIFEST, temporary / MANIFEST)

    then(monkeypatch, archive_module, "_extract", exchange)
    with pytest.raises(ArtifactError):
        unpack(archive, tmp_path / "out", key=keys[1])
    assert not (tmp_path / "out").exists()


def test_an_engine_s_bytes_are_those_that_were_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_engine_file(tmp_path, "a.engine", b"plan")
    reads: list[str] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path.name) or real(path))
    assert read_engine_file(tmp_path, "a.engine") == b"plan" and reads == ["a.engine"]


def test_a_manifest_is_opened_where_nothing_is_swapped(folder: Path, keys: tuple[Path, Path]) -> None:
    opened: Bundle = verify_bundle(folder)
    assert opened.content == read_manifest_bytes(folder)[0] == (folder / MANIFEST).read_bytes()
    assert load_trusted(folder, keys[1]) == opened
