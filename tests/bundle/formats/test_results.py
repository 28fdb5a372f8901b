"""Results: what is written is read back, and no byte of it changes unnoticed."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.base.errors import ArtifactError
from bundle.formats.manifest import load_bundle, read_manifest
from bundle.formats.results import RESULTS, open_result, read_result, read_results, seal_result, write_result
from bundle.judging.regression_report import read_report
from tests.bundle.made import make_bundle, manifest, write_manifest

TEXTS = {
    name: "<html>\n<head>\n<title>a — b</title>\n</head>\n" if name.endswith(".html") else '{\n  "a": [1, 2.5]\n}\n'
    for name in RESULTS
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_bundle(tmp_path_factory.mktemp("whole") / "bundle", count=1).folder
    for name, text in TEXTS.items():
        write_result(folder, name, text)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


@pytest.mark.parametrize("name", RESULTS)
def test_what_is_written_is_read(folder: Path, name: str) -> None:
    assert read_result(folder, name) == TEXTS[name]
    load_bundle(folder)


@pytest.mark.parametrize("name", RESULTS)
def test_writing_again_replaces_it(folder: Path, name: str) -> None:
    text = TEXTS[name].replace("2.5", "3.5").replace("b<", "c<")
    write_result(folder, name, text)
    assert read_result(folder, name) == text != TEXTS[name]
    write_result(folder, name, read_result(folder, name))
    assert read_result(folder, name) == text
    load_bundle(folder)


def test_a_sealed_result_is_still_json_with_the_two_keys_last(folder: Path) -> None:
    written = json.loads((folder / "bench.json").read_text())
    assert list(written) == ["a", "bundle", "seal"]
    assert written["bundle"] == read_manifest(folder).seal


@given(st.dictionaries(st.text(), VALUES), st.sampled_from([None, 2]))
def test_any_json_object_survives_its_seal(
    tmp_path_factory: pytest.TempPathFactory, value: object, indent: int | None
) -> None:
    text = seal_result("bench.json", json.dumps(value, indent=indent), "ab" * 32)
    path = tmp_path_factory.mktemp("any") / "sent.json"
    path.write_text(text)
    assert json.loads(open_result(path, "bench.json")) == value


@pytest.mark.parametrize("name", RESULTS)
def test_any_flipped_byte_is_refused_by_name(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        (folder / name).write_bytes(flipped)
        with pytest.raises(ArtifactError, match=f"^{name} was altered"):
            read_results(folder, read_manifest(folder).seal)


@pytest.mark.parametrize("name", RESULTS)
def test_one_cut_short_anywhere_is_refused_by_name(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for length in range(len(content)):
        (folder / name).write_bytes(content[:length])
        with pytest.raises(ArtifactError, match=f"^{name} was altered"):
            read_results(folder, read_manifest(folder).seal)


@pytest.mark.parametrize("name", RESULTS)
def test_one_of_another_bundle_is_refused_by_name(folder: Path, tmp_path: Path, name: str) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    write_manifest(other, manifest(other).model_copy(update={"name": "another"}))
    write_result(other, name, TEXTS[name])
    shutil.copyfile(other / name, folder / name)
    with pytest.raises(ArtifactError, match=f"^{name} belongs to another bundle"):
        load_bundle(folder)


def test_one_result_cannot_stand_in_for_another(folder: Path) -> None:
    shutil.copyfile(folder / "regression.json", folder / "bench.json")
    with pytest.raises(ArtifactError, match=r"^bench\.json was altered"):
        load_bundle(folder)


def test_one_without_a_seal_is_refused_in_a_bundle_and_read_elsewhere(folder: Path, tmp_path: Path) -> None:
    (folder / "bench.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"^bench\.json was altered"):
        read_result(folder, "bench.json")
    assert write_result(tmp_path, "bench.json", "{}").read_text() == "{}"
    assert read_result(tmp_path, "bench.json") == "{}"


def test_one_that_is_missing_is_missing_not_altered(folder: Path) -> None:
    (folder / "regression.json").unlink()
    with pytest.raises(FileNotFoundError):
        read_result(folder, "regression.json")
    with pytest.raises(ArtifactError, match="cannot be read") as caught:
        read_report(folder)
    assert caught.value.fix.startswith("run pytest tests/regression")


def test_one_sent_back_alone_is_read_under_any_name_and_still_checked(folder: Path, tmp_path: Path) -> None:
    sent = Path(shutil.copyfile(folder / "regression.json", tmp_path / "orin-nano.json"))
    assert open_result(sent, "regression.json") == TEXTS["regression.json"]
    sent.write_text(sent.read_text().replace("2.5", "2.6"))
    with pytest.raises(ArtifactError, match=r"^regression\.json was altered"):
        open_result(sent, "regression.json")


@pytest.mark.parametrize(("name", "text"), [("bench.json", "[]"), ("bench.json", ""), ("report.html", "<html></html>")])
def test_what_cannot_carry_a_seal_is_refused(name: str, text: str) -> None:
    with pytest.raises(ArtifactError, match="cannot carry a seal"):
        seal_result(name, text, "0" * 64)
