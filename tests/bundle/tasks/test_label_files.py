"""Label files: floats in the unit of their kind are read as the steps that a PNG of the same map holds, or refused by name."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.base.errors import DatasetError
from bundle.formats.image_hash import hash_labelled
from bundle.tasks.dataset import FolderDataset
from tests.bundle import made_scenes

METRES = np.array([[0.0, np.nan, 0.0001], [1.0004, 1.0006, 65.535]])
STEPS = [[0, 0, 1], [1000, 1001, 65535]]  # millimetres; what is nearer than half of one is still valid


@pytest.fixture
def made(tmp_path: Path) -> FolderDataset:
    data = made_scenes.write(tmp_path, {"val": ("a", "b")})
    Image.fromarray(np.zeros((*METRES.shape, 3), np.uint8)).save(tmp_path / "image" / "a.png")
    return data


def replace(data: FolderDataset, name: str) -> Path:
    data.label_path("depth", "a").unlink()
    return data.root / "depth" / name


def tiff(values: np.ndarray) -> bytes:
    """A TIFF of float32, written by hand from the format's own tables: little-endian, one strip, SampleFormat 3."""
    pixels = values.astype("<f4").tobytes()
    tags = [(256, values.shape[1]), (257, values.shape[0]), (258, 32), (259, 1), (262, 1), (273, 8)]
    tags += [(277, 1), (278, values.shape[0]), (279, len(pixels)), (339, 3)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("name", ["a.npy", "a.NPY", "a.tif", "a.tiff", "a.TIFF"])
def test_floats_in_metres_are_read_as_the_steps_of_a_png(made: FolderDataset, name: str) -> None:
    path = replace(made, name)
    if path.suffix.lower() == ".npy":
        with path.open("wb") as stream:
            np.save(stream, METRES.astype(np.float32))
    else:
        path.write_bytes(tiff(METRES))
    assert made.encoded_label("depth", "a").tolist() == STEPS
    assert made.encoded_label("depth", "a").dtype == np.uint16
    before = hash_labelled(made, ("a",), ("depth",))
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert hash_labelled(made, ("a",), ("depth",)) != before


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (METRES * 1000, "0 to 65535"),
        (METRES - 1, "-1 to 64.535"),
        (np.full((2, 3), np.inf), "inf to inf"),
        (np.full((2, 3), 7, np.uint16), r"uint16 \[2, 3\]"),
        (np.ones((2, 3, 1)), r"float64 \[2, 3, 1\]"),
    ],
    ids=["millimetres", "negative", "infinite", "integers", "three axes"],
)
def test_floats_that_may_mean_something_else_are_refused(made: FolderDataset, values: np.ndarray, got: str) -> None:
    path = replace(made, "a.npy")
    np.save(path, values)
    with pytest.raises(DatasetError, match="no map of floats") as caught:
        made.encoded_label("depth", "a")
    assert caught.value.where == str(path)
    np.testing.assert_string_equal(caught.value.got, got.replace("\\", ""))


def test_a_tiff_of_integers_is_refused(made: FolderDataset) -> None:
    Image.fromarray(np.ones((2, 3), np.uint16)).save(replace(made, "a.tif"))
    with pytest.raises(DatasetError, match="wrong mode") as caught:
        made.encoded_label("depth", "a")
    assert (caught.value.expected, caught.value.got) == ("Pillow mode F", "mode I;16")


def test_a_tiff_of_several_pictures_is_refused(made: FolderDataset) -> None:
    pages = [Image.fromarray(np.full((2, 3), value, np.float32)) for value in (1, 2)]
    pages[0].save(replace(made, "a.tif"), save_all=True, append_images=pages[1:])
    with pytest.raises(DatasetError, match="exactly as it is stored") as caught:
        made.encoded_label("depth", "a")
    assert caught.value.got == "2 pictures"


def test_two_files_of_one_label_are_refused(made: FolderDataset) -> None:
    np.save(made.root / "depth" / "a.npy", METRES)
    with pytest.raises(DatasetError, match="more than one file") as caught:
        made.encoded_label("depth", "a")
    assert caught.value.got == "a.png, a.npy"


def test_floats_of_a_kind_without_a_unit_are_named_and_not_read(made: FolderDataset) -> None:
    path = made.label_path("semseg", "b")
    np.save(path.with_suffix(".npy"), np.zeros(made_scenes.SIZE, np.float32))
    assert made.encoded_label("semseg", "b").shape == made_scenes.SIZE
    path.unlink()
    with pytest.raises(DatasetError, match="label is missing") as caught:
        made.encoded_label("semseg", "b")
    assert (caught.value.expected, caught.value.got) == ("b.png", "b.npy")


def test_a_label_with_its_suffix_in_capitals_is_read(made: FolderDataset) -> None:
    for name, encoded in made_scenes.labels(1).items():
        path = made.label_path(name, "b")
        shutil.move(path, path.with_suffix(".PNG"))
        np.testing.assert_array_equal(made.encoded_label(name, "b"), encoded)
