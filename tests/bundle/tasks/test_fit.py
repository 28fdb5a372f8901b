"""Each policy puts the right pixels in the right place, for images and labels alike, and Pillow agrees about the values."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from bundle.base.errors import DatasetError
from bundle.tasks.dataset import FolderDataset
from bundle.tasks.fit import Box, boxes, fit_image, fit_label, restore
from bundle.tasks.resize import nearest, smooth
from bundle.tasks.spec import SIZE_POLICIES, DatasetSpec, SizePolicy
from bundle.tasks.table import TASKS, task
from tests.bundle import made_scenes

SPEC = made_scenes.SPEC.model_copy(update={"schema_version": 2, "ignore_index": 7})


@pytest.mark.parametrize(
    ("own", "size", "policy", "source", "target"),
    [
        ((6, 12), (4, 4), "stretch", Box(0, 0, 6, 12), Box(0, 0, 4, 4)),
        ((6, 12), (4, 4), "letterbox", Box(0, 0, 6, 12), Box(1, 0, 2, 4)),
        ((12, 6), (4, 4), "letterbox", Box(0, 0, 12, 6), Box(0, 1, 4, 2)),
        ((6, 12), (4, 4), "crop", Box(0, 3, 6, 6), Box(0, 0, 4, 4)),
        ((12, 6), (3, 4), "crop", Box(3, 0, 5, 6), Box(0, 0, 3, 4)),
        ((2, 3), (4, 4), "pad", Box(0, 0, 2, 3), Box(1, 0, 2, 3)),
        ((1, 900), (4, 4), "letterbox", Box(0, 0, 1, 900), Box(1, 0, 1, 4)),
    ],
)
def test_what_becomes_what(
    own: tuple[int, int], size: tuple[int, int], policy: SizePolicy, source: Box, target: Box
) -> None:
    assert boxes(own, size, policy, where="") == (source, target)


def test_a_larger_image_is_not_padded() -> None:
    with pytest.raises(DatasetError, match="larger than the model's") as caught:
        boxes((5, 4), (4, 4), "pad", where="an image")
    assert caught.value.where == "an image"


@pytest.mark.parametrize("size", [(30, 40), (7, 50), (61, 83), (122, 3), (1, 1)])
def test_smooth_is_pillows_bilinear(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (61, 83, 3)).astype(np.uint8)
    pillow = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(np.rint(smooth(image, size)) - pillow).max() <= 1
    pillow = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.NEAREST))
    np.testing.assert_array_equal(nearest(image, size), pillow)


@pytest.mark.parametrize("policy", SIZE_POLICIES)
@pytest.mark.parametrize("row", TASKS, ids=lambda row: row.name)
def test_what_has_the_size_is_not_touched(row: object, policy: SizePolicy) -> None:
    image = made_scenes.image(0)
    np.testing.assert_array_equal(fit_image(image, made_scenes.SIZE, policy, where=""), image)
    encoded = made_scenes.labels(0)[row.name]
    np.testing.assert_array_equal(fit_label(row, encoded, SPEC, made_scenes.SIZE, policy, where=""), encoded)


@pytest.mark.parametrize(("name", "around"), [("semseg", 7), ("saliency", 0), ("depth", 0), ("normals", [0, 0, 0])])
def test_around_a_label_nothing_counts(name: str, around: object) -> None:
    encoded = np.full_like(made_scenes.labels(0)[name], 255)
    fitted = fit_label(task(name), encoded, SPEC, (20, 20), "pad", where="")
    inside = np.zeros((20, 20), bool)
    inside[4:16, 2:18] = True
    assert fitted.dtype == encoded.dtype and (fitted[~inside] == around).all() and (fitted[inside] == 255).all()


def test_numbers_are_taken_and_directions_are_averaged() -> None:
    depth = np.array([[1, 60000], [3, 4]], np.uint16)
    assert fit_label(task("depth"), depth, SPEC, (2, 4), "stretch", where="").tolist() == [
        [1, 1, 60000, 60000],
        [3, 3, 4, 4],
    ]
    up, toward, none = (128, 255, 128), (128, 128, 255), (0, 0, 0)
    normals = np.array([[up, toward, none, toward]], np.uint8)
    mean = round((1 + 0.5**0.5) * 127.5)
    fitted = fit_label(task("normals"), normals, SPEC, (1, 2), "stretch", where="")[0].tolist()
    assert fitted[0][0] == 128 and abs(fitted[0][1] - mean) < 9 and abs(fitted[0][2] - mean) < 9
    assert fitted[1] == [128, 128, 255] or fitted[1] == [0, 0, 0]


def test_a_folder_gives_images_and_labels_of_the_size(tmp_path: Path) -> None:
    made_scenes.write(tmp_path, {"val": ("a",)})
    spec = DatasetSpec.model_validate(SPEC.model_dump() | {"size_policy": "letterbox", "ignore_index": 255})
    data = FolderDataset(root=tmp_path, spec=spec, size=(32, 32))
    assert data.image("a").shape == (32, 32, 3) and not data.image("a")[:4].any() and data.image("a")[4:28].any()
    for row in TASKS:
        assert data.encoded_label(row.name, "a").shape[:2] == (32, 32)
    assert FolderDataset(root=tmp_path, spec=spec).image("a").shape[:2] == made_scenes.SIZE


def test_the_policy_is_a_key_of_version_2_and_version_1_is_written_as_it_was() -> None:
    with pytest.raises(ValidationError, match="schema_version 2"):
        DatasetSpec.model_validate(made_scenes.SPEC.model_dump() | {"size_policy": "crop"})
    assert "size_policy" not in made_scenes.SPEC.model_dump_json()
    spec = DatasetSpec.model_validate(made_scenes.SPEC.model_dump() | {"schema_version": 2, "size_policy": "crop"})
    assert DatasetSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("policy", SIZE_POLICIES)
@pytest.mark.parametrize("own", [(60, 80), (80, 60), (48, 64), (12, 16), (20, 20)])
def test_a_map_of_the_image_itself_comes_back_where_the_image_was(policy: SizePolicy, own: tuple[int, int]) -> None:
    """The "model" answers with its input, a plane, which linear interpolation keeps inside; what it did not see is 0."""
    if policy == "pad" and max(own[0] / 48, own[1] / 64) > 1:
        return
    rows, columns = np.mgrid[: own[0], : own[1]]
    plane = np.rint(20 + 150 * rows / own[0] + 50 * columns / own[1]).astype(np.uint8)
    fitted = fit_image(np.repeat(plane[..., None], 3, axis=2), (48, 64), policy, where="here")
    back = restore(task("depth"), fitted[..., 0].astype(np.float32), own, policy)
    assert back.shape == own and back.dtype == np.float32
    seen = boxes(own, (48, 64), policy, where="here")[0].slices
    around = np.ones(own, bool)
    around[seen] = False
    assert not back[around].any() and around.any() == (policy == "crop" and own[0] * 64 != own[1] * 48)
    wrong = np.abs(back - plane)[seen]
    assert wrong[3:-3, 3:-3].max() < 2.5 and wrong.max() < 16  # the border has no neighbours outside of it


def test_a_restored_class_is_one_that_was_there_and_255_where_nothing_was_seen() -> None:
    labels = np.where(np.arange(32) < 16, 3, 9).astype(np.uint8)[None].repeat(24, axis=0)
    back = restore(task("semseg"), labels, (24, 96), "crop")
    assert np.unique(back[:, 32:64]).tolist() == [3, 9] and (back[:, :32] == 255).all() and (back[:, 64:] == 255).all()


def test_a_restored_direction_has_length_1() -> None:
    vectors = np.random.default_rng(4).normal(size=(3, 24, 32)).astype(np.float32)
    back = restore(task("normals"), vectors / np.linalg.norm(vectors, axis=0), (50, 70), "stretch")
    assert back.shape == (3, 50, 70) and np.allclose(np.linalg.norm(back, axis=0), 1, atol=1e-6)


def test_without_a_policy_a_map_is_as_it_is() -> None:
    labels = np.zeros((24, 32), np.uint8)
    assert restore(task("semseg"), labels, (24, 32), None) is labels
