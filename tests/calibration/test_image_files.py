"""The images of a labelled or a plain folder, and their fingerprint."""

import shutil
from pathlib import Path

import pytest

from bundle.base.errors import DatasetError
from calibration.image_files import ImageFiles, folder_images
from tests.compile import made


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.scenes(tmp_path_factory.mktemp("scenes") / "scenes")


def test_a_labelled_folder_gives_its_split_a_plain_one_everything(scenes: Path) -> None:
    assert [path.stem for path in folder_images(scenes, "calibration").paths] == list(made.CALIBRATION)
    everything = folder_images(scenes / "image", "calibration").paths
    assert len(everything) == len(made.CALIBRATION) + len(made.EVALUATION)


def test_the_hash_covers_names_bytes_and_order(scenes: Path, tmp_path: Path) -> None:
    files = folder_images(scenes, "calibration")
    copy = tmp_path / "image" / "c0.png"
    copy.parent.mkdir()
    shutil.copyfile(files.paths[0], copy)
    assert ImageFiles(paths=(copy,)).sha256 == files.first(1).sha256
    assert ImageFiles(paths=files.paths[::-1]).sha256 != files.sha256
    copy.write_bytes(copy.read_bytes() + b"\0")
    assert ImageFiles(paths=(copy,)).sha256 != files.first(1).sha256


def test_an_id_without_an_image_is_refused_by_name(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    shutil.copyfile(scenes / "image" / "c0.png", tmp_path / "image" / "c0.png")
    (tmp_path / "some.txt").write_text("c0\nc1\n")
    with pytest.raises(DatasetError, match="image 'c1' has no file") as caught:
        folder_images(tmp_path, "some")
    assert "c1.png" in caught.value.expected


def test_a_suffix_in_capitals_is_an_image_too(scenes: Path, tmp_path: Path) -> None:
    shutil.copyfile(scenes / "image" / "c0.png", tmp_path / "ONE.PNG")
    assert [path.name for path in folder_images(tmp_path, "calibration").paths] == ["ONE.PNG"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_images_is_refused(exists: bool, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    if exists:
        folder.mkdir()
    with pytest.raises(DatasetError):
        folder_images(folder, "calibration")
