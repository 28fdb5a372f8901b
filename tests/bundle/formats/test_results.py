"""Results: what is written is read back, and no byte of it changes unnoticed."""

import json
import shutil
from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.formats.contents import MANIFEST, RESULTS
from bundle.formats.hash_files import write_hashed
from bundle.formats.manifest import load_bundle
from bundle.formats.results import open_result, read_manifest_bytes, read_result, read_results
from bundle.judging.choice import Bench
from bundle.judging.regression_report import read_report
from tests.bundle.made import make_bundle, manifest, write_manifest, write_result

TEXTS = {
    name: "<html>\n<head>\n<title>a — b</title>\n</head>\n" if name.endswith(".html") else '{\n  "a": [1, 2.5]\n}\n'
    for name in RESULTS
}
BENCH = Bench(eager_ms=None, f32_compiled_ms=2.5, shipped_ms=1.0, shipped_precision="f16", runs=1, warmup=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_bundle(tmp_path_factory.mktemp("whole") / "bundle", count=1).folder
    for name, text in TEXTS.items():
        write_result(folder, name, text)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def test_what_is_written_is_read_with_its_tie(folder: Path) -> None:
    load_bundle(folder).write("bench.json", BENCH)
    opened = load_bundle(folder)
    written = Bench.model_validate_json(opened.results["bench.json"])
    assert written == BENCH.model_copy(update={"bundle": opened.sha256})
    assert opened.sha256 == read_manifest_bytes(folder)[1]


def test_writing_again_replaces_it(folder: Path) -> None:
    for runs in (1, 2):
        load_bundle(folder).write("bench.json", BENCH.model_copy(update={"runs": runs}))
        assert json.loads(read_result(folder, "bench.json"))["runs"] == runs


@pytest.mark.parametrize("name", RESULTS)
def test_any_flipped_byte_is_refused_by_name(folder: Path, name: str) -> None:
    for path in (folder / name, folder / f"{name}.sha256"):
        content = path.read_bytes()
        for position in range(len(content)):
            flipped = bytearray(content)
            flipped[position] ^= 1 << position % 8
            path.write_bytes(flipped)
            with pytest.raises(ArtifactError, match=f"^{name} was altered"):
                read_results(folder, read_manifest_bytes(folder)[1])
        path.write_bytes(content)


@pytest.mark.parametrize("name", RESULTS)
def test_one_cut_short_anywhere_is_refused_by_name(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for length in range(len(content)):
        (folder / name).write_bytes(content[:length])
        with pytest.raises(ArtifactError, match=f"^{name} was altered"):
            read_results(folder, read_manifest_bytes(folder)[1])


@pytest.mark.parametrize("name", RESULTS)
def test_one_of_another_bundle_is_refused_by_name(folder: Path, tmp_path: Path, name: str) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    write_manifest(other, manifest(other).model_copy(update={"name": "another"}))
    write_result(other, name, TEXTS[name])
    shutil.copyfile(other / name, folder / name)
    shutil.copyfile(other / f"{name}.sha256", folder / f"{name}.sha256")
    with pytest.raises(ArtifactError, match=f"^{name} belongs to another bundle"):
        load_bundle(folder)


@pytest.mark.parametrize("text", ["{}", "[]", '{"bundle": 1}', "no JSON", '{"bundle": null}'])
def test_one_that_names_no_bundle_is_refused_by_name(folder: Path, text: str) -> None:
    write_hashed(folder / "bench.json", text.encode())
    with pytest.raises(ArtifactError, match=r"^bench\.json belongs to another bundle") as refused:
        load_bundle(folder)
    assert refused.value.got == "one that names no bundle"


def test_one_result_cannot_stand_in_for_another(folder: Path) -> None:
    for suffix in ("", ".sha256"):
        shutil.copyfile(folder / f"regression.json{suffix}", folder / f"bench.json{suffix}")
    with pytest.raises(ArtifactError, match=r"^bench\.json was altered"):
        load_bundle(folder)


def test_one_without_a_hash_is_refused_in_a_bundle_and_read_elsewhere(folder: Path, tmp_path: Path) -> None:
    (folder / "bench.json.sha256").unlink()
    for read in (lambda: read_result(folder, "bench.json"), lambda: load_bundle(folder)):
        with pytest.raises(ArtifactError, match=r"^bench\.json has no hash beside it"):
            read()
    (tmp_path / "bench.json").write_text("{}")
    assert read_result(tmp_path, "bench.json") == b"{}"


def test_one_that_is_missing_is_missing_not_altered(folder: Path) -> None:
    (folder / "regression.json").unlink()
    with pytest.raises(FileNotFoundError):
        read_result(folder, "regression.json")
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        read_report(folder)
    assert caught.value.fix.startswith("run pytest tests/regression")


def test_one_sent_back_alone_is_read_under_any_name_and_checked_with_its_hash(folder: Path, tmp_path: Path) -> None:
    sent = tmp_path / "orin-nano.json"
    write_hashed(sent, (folder / "regression.json").read_bytes())
    assert json.loads(open_result(sent))["bundle"] == read_manifest_bytes(folder)[1]
    sent.write_text(sent.read_text().replace("2.5", "2.6"))
    with pytest.raises(ArtifactError, match=r"^orin-nano\.json was altered"):
        open_result(sent)


def test_the_hash_of_the_manifest_is_as_well_protected(folder: Path) -> None:
    path = folder / f"{MANIFEST}.sha256"
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(ArtifactError, match=r"^manifest\.json was altered"):
            load_bundle(folder)
