"""The labelled folder: what is read back is what was written, and every fault is refused by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.base.errors import DatasetError
from bundle.formats.artifacts import hash_folder
from bundle.tasks.dataset import (
    FolderDataset,
    check_encoded,
    check_image,
    decode_label,
    load_spec,
    output_channels,
    read_ids,
    read_image,
)
from bundle.tasks.spec import DatasetSpec
from bundle.tasks.table import TASKS, task
from tests.bundle import made_scenes

SCENES = Path(__file__).parents[3] / "data" / "scenes"


@pytest.fixture
def made(tmp_path: Path) -> FolderDataset:
    return made_scenes.write(tmp_path, {"train": ("a", "b"), "val": ("c",)})


def test_images_and_labels_come_back_as_written(made: FolderDataset) -> None:
    assert made.ids("train") == ("a", "b")
    np.testing.assert_array_equal(made.image("b"), made_scenes.image(1))
    for name, encoded in made_scenes.labels(1).items():
        read = made.encoded_label(name, "b")
        assert read.dtype == encoded.dtype
        np.testing.assert_array_equal(read, encoded)


def test_the_spec_comes_back_as_written(made: FolderDataset) -> None:
    assert load_spec(made.root / "dataset.json") == made_scenes.SPEC


def test_decoded_labels_mean_what_the_format_says(made: FolderDataset) -> None:
    encoded = made_scenes.labels(0)
    np.testing.assert_array_equal(made.label("semseg", "a"), encoded["semseg"])
    np.testing.assert_array_equal(made.label("saliency", "a"), encoded["saliency"] // 255)
    np.testing.assert_allclose(made.label("depth", "a"), encoded["depth"] / 1000, rtol=1e-6)
    normals = made.label("normals", "a")
    assert normals.shape == (3, *made_scenes.SIZE)
    assert normals[:, 0, 0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0).reshape(-1)[1:], 1, atol=1e-6)
    # 8 bits leave a normal within 0.4 degrees of the truth: atan(sqrt(3) · 0.5 / 127.5) = 0.39
    generator = np.random.default_rng(0)
    true = generator.normal(size=(*made_scenes.SIZE, 3))
    true /= np.linalg.norm(true, axis=2, keepdims=True)
    cosine = (true.transpose(2, 0, 1) * normals).sum(axis=0).reshape(-1)[1:]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.4


def test_another_ignore_index_and_depth_unit_are_honoured() -> None:
    spec = made_scenes.SPEC.model_copy(update={"ignore_index": 7, "depth_unit_m": 0.01})
    np.testing.assert_array_equal(decode_label("semseg", np.array([[0, 7, 2]], np.uint8), spec), [[0, 255, 2]])
    np.testing.assert_allclose(decode_label("depth", np.array([[150]], np.uint16), spec), [[1.5]])


def overwrite(folder: str, name: str, content: bytes) -> Callable[[Path], None]:
    return lambda root: (root / folder / name).write_bytes(content) and None


def save(path: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda root: Image.fromarray(array).save(root / path)


def npy(array: np.ndarray) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / "image" / "a.png").unlink()
        np.save(root / "image" / "a.npy", array)

    return change


ROWS, COLUMNS = made_scenes.SIZE
FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing split": (lambda root: (root / "train.txt").unlink(), "no split 'train'", "train.txt"),
    "empty split": (lambda root: (root / "train.txt").write_text("\n"), "is empty", "train.txt"),
    "duplicate id": (lambda root: (root / "train.txt").write_text("a\nb\na\n"), "'a' occurs twice", "train.txt"),
    "path as id": (lambda root: (root / "train.txt").write_text("../a\n"), "is not an id", "train.txt"),
    "missing image": (lambda root: (root / "image/a.png").unlink(), "no file", "image"),
    "two images": (save("image/a.jpg", made_scenes.image(0)), "more than one file", "image"),
    "missing label": (lambda root: (root / "edge/a.png").unlink(), "edge label is missing", "edge/a.png"),
    "no image file": (overwrite("image", "a.png", b"not a picture"), "cannot be read", "image/a.png"),
    "cut label": (lambda root: cut(root / "normals/a.png"), "cannot be read", "normals/a.png"),
    "16-bit image": (save("image/a.png", np.zeros((ROWS, COLUMNS), np.uint16)), "wrong mode", "image/a.png"),
    "alpha image": (save("image/a.png", np.zeros((ROWS, COLUMNS, 4), np.uint8)), "wrong mode", "image/a.png"),
    "NaN image": (npy(np.full((ROWS, COLUMNS, 3), np.nan, np.float32)), "NaN", "image/a.npy"),
    "float image": (npy(np.zeros((ROWS, COLUMNS, 3), np.float32)), "wrong dtype or shape", "image/a.npy"),
    "no image shape": (npy(np.zeros(3, np.uint8)), "wrong dtype or shape", "image/a.npy"),
    "pickled image": (npy(np.array([{}], dtype=object)), "cannot be read", "image/a.npy"),
    "label size": (save("semseg/a.png", np.zeros((ROWS, COLUMNS + 1), np.uint8)), "differ in size", "semseg/a.png"),
    "label values": (save("semseg/a.png", np.full((ROWS, COLUMNS), 3, np.uint8)), "mean nothing", "semseg/a.png"),
    "soft saliency": (save("saliency/a.png", np.full((ROWS, COLUMNS), 9, np.uint8)), "mean nothing", "saliency/a.png"),
    "8-bit depth": (save("depth/a.png", np.zeros((ROWS, COLUMNS), np.uint8)), "wrong mode", "depth/a.png"),
    "grey normals": (save("normals/a.png", np.zeros((ROWS, COLUMNS), np.uint8)), "wrong mode", "normals/a.png"),
}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_by_name(made: FolderDataset, fault: str) -> None:
    change, message, where = FAULTS[fault]
    change(made.root)
    with pytest.raises(DatasetError) as caught:
        for identifier in made.ids("train"):
            made.image(identifier)
            for row in TASKS:
                made.label(row.name, identifier)
    assert message in caught.value.message
    assert where in caught.value.where.replace("\\", "/")
    assert caught.value.exit_code == 2
    assert caught.value.expected and caught.value.got and caught.value.fix


def test_a_missing_split_lists_those_there_are(made: FolderDataset) -> None:
    with pytest.raises(DatasetError, match="splits here: train, val"):
        read_ids(made.root / "test.txt")


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ('{"name": "x"}', "classes"),
        ('{"name": "x", "classes": {}, "palettes": {}, "attribution": "", "colour": 1}', "colour"),
        (
            '{"name": "x", "classes": {"semseg": ["a"]}, "palettes": {"semseg": []}, "attribution": ""}',
            "colours per task",
        ),
        ("{", "JSON"),
    ],
)
def test_a_wrong_spec_is_refused_with_the_key(tmp_path: Path, text: str, got: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DatasetError) as caught:
        load_spec(tmp_path / "dataset.json")
    assert got in caught.value.got


def test_a_folder_without_a_spec_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no spec"):
        load_spec(tmp_path / "dataset.json")


def test_channels_come_from_the_row_or_the_classes() -> None:
    assert {row.name: output_channels(row, made_scenes.SPEC) for row in TASKS} == {
        "semseg": 3,
        "human_parts": 2,
        "saliency": 1,
        "normals": 3,
        "depth": 1,
        "edge": 1,
    }
    bare = DatasetSpec(name="bare", classes={}, palettes={}, attribution="")
    with pytest.raises(DatasetError, match="no classes for task 'semseg'"):
        output_channels(task("semseg"), bare)


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("depth", np.zeros((4, 4), np.uint8)),
        ("normals", np.zeros((4, 4), np.uint8)),
        ("edge", np.zeros((4, 4, 3), np.uint8)),
    ],
)
def test_stored_labels_of_another_kind_are_refused(name: str, encoded: np.ndarray) -> None:
    with pytest.raises(DatasetError, match="wrong dtype or shape"):
        check_encoded(name, encoded, made_scenes.SPEC, where="vectors.npz")


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(DatasetError, match="wrong dtype or shape"):
        check_image(np.zeros((0, 4, 3), np.uint8), where="x")


# The committed set


@pytest.fixture(scope="module")
def scenes() -> FolderDataset:
    return FolderDataset(root=SCENES, spec=load_spec(SCENES / "dataset.json"))


def test_the_committed_set_is_whole(scenes: FolderDataset) -> None:
    evaluation, people = scenes.ids("val"), 0
    for identifier in evaluation:
        assert scenes.image(identifier).shape == (224, 224, 3)
        decoded = {row.name: scenes.label(row.name, identifier) for row in TASKS}
        people += bool(((decoded["human_parts"] > 0) & (decoded["human_parts"] < 255)).any())
        assert (decoded["depth"] > 0).any() and decoded["normals"].any() and decoded["edge"].any()
    assert (len(evaluation), people) == (148, 81)


def test_the_committed_calibration_images_are_whole(scenes: FolderDataset) -> None:
    calibration = scenes.ids("calibration")
    assert not set(calibration) & set(scenes.ids("val"))
    assert {read_image(scenes.image_path(identifier)).shape for identifier in calibration} == {(224, 224, 3)}


def test_the_committed_set_is_small_and_holds_nothing_else(scenes: FolderDataset) -> None:
    files = hash_folder(SCENES)
    named = {f"image/{name}.jpg" for split in ("calibration", "val") for name in scenes.ids(split)}
    named |= {
        f"{row.name}/{name}.png" for row in TASKS for split in ("calibration", "val") for name in scenes.ids(split)
    }
    assert set(files) == named | {"README.md", "dataset.json", "calibration.txt", "val.txt"}
    assert sum((SCENES / name).stat().st_size for name in files) < 20e6


def test_the_attribution_stays_with_the_data(scenes: FolderDataset) -> None:
    readme = " ".join((SCENES / "README.md").read_text(encoding="utf-8").split())
    assert scenes.spec.attribution in readme
    for holder in ("Sweet Home 3D", "Scopia", "Kator Legaz", "CC BY 3.0", "Anny", "Mitsuba 3"):
        assert holder in scenes.spec.attribution


def test_every_class_has_a_colour_of_its_own(scenes: FolderDataset) -> None:
    assert len(scenes.spec.classes["semseg"]) == 17
    assert len(scenes.spec.classes["human_parts"]) == 7
    for colours in scenes.spec.palettes.values():
        assert len(set(colours)) == len(colours)


def test_a_mask_of_one_bit_and_a_suffix_in_capitals_are_read(made: FolderDataset) -> None:
    mask = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 3 == 0
    Image.fromarray(mask).save(made.root / "saliency" / "a.png")
    np.testing.assert_array_equal(made.encoded_label("saliency", "a"), np.where(mask, 255, 0))
    with pytest.raises(DatasetError, match="wrong mode"):
        Image.fromarray(mask).save(made.root / "semseg" / "a.png")
        made.encoded_label("semseg", "a")
    (made.root / "image" / "b.png").rename(made.root / "image" / "b.PNG")
    np.testing.assert_array_equal(made.image("b"), made_scenes.image(1))
