"""The images of a labelled or a plain folder, and their fingerprint."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.base.errors import DatasetError
from bundle.tasks.preprocess import Preprocess
from calibration.image_files import ImageFiles, declared_policy, fitted_images, folder_images
from calibration.sampling import from_folder
from tests.compile import made

PREPROCESS = Preprocess(height=made.SIDE, width=made.SIDE)


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


def test_a_declared_policy_gives_every_image_the_models_size(scenes: Path, tmp_path: Path) -> None:
    root = tmp_path / "scenes"
    shutil.copytree(scenes, root)
    Image.fromarray(np.full((10, 50, 3), 9, np.uint8)).save(root / "image" / "c0.png")
    plain = fitted_images(root, "calibration", PREPROCESS)
    assert next(plain.read())[1].shape == (10, 50, 3)  # refused where a graph takes it
    hashes = {plain.sha256}
    for policy in ("stretch", "letterbox", "crop"):
        spec = json.loads((scenes / "dataset.json").read_text()) | {"schema_version": 2, "size_policy": policy}
        (root / "dataset.json").write_text(json.dumps(spec))
        files = fitted_images(root, "calibration", PREPROCESS)
        assert {image.shape for _, image in files.read()} == {(made.SIDE, made.SIDE, 3)}
        assert files.first(2).fit == files.fit
        hashes.add(files.sha256)
    assert len(hashes) == 4


def test_a_turned_photo_is_turned_where_nothing_is_labelled(scenes: Path, tmp_path: Path) -> None:
    """Of a labelled folder it is refused: its labels may have been drawn on either picture."""
    turned = Image.Exif()
    turned[0x0112] = 3
    Image.fromarray(made.image(0)).save(tmp_path / "photo.png", exif=turned)
    [(_, shown)] = folder_images(tmp_path, "").read()
    np.testing.assert_array_equal(shown, made.image(0)[::-1, ::-1])
    root = tmp_path / "scenes"
    shutil.copytree(scenes, root)
    shutil.copyfile(tmp_path / "photo.png", root / "image" / f"{made.CALIBRATION[0]}.png")
    with pytest.raises(DatasetError, match="turned or mirrored"):
        next(folder_images(root, "calibration").read())


def test_a_plain_folder_declares_its_policy_in_a_spec_without_labels(tmp_path: Path) -> None:
    Image.fromarray(np.full((10, 50, 3), 9, np.uint8)).save(tmp_path / "photo.png")
    with pytest.raises(DatasetError, match="wrong size") as caught:
        from_folder(tmp_path, "", 1, seed=0, preprocess=PREPROCESS, policy=declared_policy(tmp_path))
    assert "size_policy in dataset.json" in caught.value.fix
    spec = {
        "schema_version": 2,
        "name": "photos",
        "classes": {},
        "palettes": {},
        "attribution": "",
        "size_policy": "crop",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(spec))
    drawn = from_folder(tmp_path, "", 1, seed=0, preprocess=PREPROCESS, policy=declared_policy(tmp_path))
    assert [image.shape for _, image in drawn.read()] == [(made.SIDE, made.SIDE, 3)]
