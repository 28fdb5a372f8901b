"""Resizing gives OpenCV's numbers, and the two answers to an overshoot differ where it is said."""

import numpy as np
import pytest

from bundle.tasks.fit import fit_image, fit_label
from bundle.tasks.published_resize import cubic, encode_directions, nearest, resize_image, resize_label, unit
from bundle.tasks.spec import OVERSHOOTS, DatasetSpec, Overshoot
from bundle.tasks.table import task
from tests.bundle import made_scenes

SIZES = [((7, 9), (14, 18)), ((48, 37), (31, 64)), ((375, 500), (448, 448)), ((5, 4), (5, 9)), ((30, 40), (10, 13))]


def values(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).choice(np.array([0, 3, 128, 255], np.uint8), (*size, 3))


@pytest.mark.parametrize(("source", "size"), SIZES)
def test_cubic_and_nearest_give_opencvs_numbers(source: tuple[int, int], size: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is in the extra oracles")
    image = values(source)
    ours, theirs = (
        cubic(image.astype(np.float64), size),
        cv2.resize(image.astype(np.float64), size[::-1], interpolation=cv2.INTER_CUBIC),
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    with np.errstate(invalid="ignore"):
        wrapped = np.trunc(theirs).astype(np.int64).astype(np.uint8)
    assert (resize_image(image, size, "as-published") != wrapped).mean() < 1e-4
    depth = np.arange(source[0] * source[1], dtype=np.uint16).reshape(source)
    np.testing.assert_array_equal(nearest(depth, size), cv2.resize(depth, size[::-1], interpolation=cv2.INTER_NEAREST))


def test_the_cubic_kernel_is_the_one_written_by_hand() -> None:
    """At twice the size the fractions are 0.25 and 0.75: weights −27, 225, 67, −9 of 256, or in reverse."""
    row = np.array([0.0, 0.0, 256.0, 256.0, 256.0])[None, :, None]
    assert cubic(row, (1, 10))[0, :7, 0].tolist() == [0, -9, -27, 58, 198, 283, 265]


def test_an_overshoot_wraps_as_published_or_is_clipped() -> None:
    row = np.repeat(np.array([[0, 0, 255, 255, 255]], np.uint8)[..., None], 3, axis=2)
    wrapped, clipped = (resize_image(row, (1, 10), overshoot)[0, :7, 0].tolist() for overshoot in OVERSHOOTS)
    assert wrapped == [0, 256 - 8, 256 - 26, 57, 197, 281 - 256, 263 - 256]
    assert clipped == [0, 0, 0, 58, 197, 255, 255]


def test_directions_keep_their_length_and_numbers_their_values() -> None:
    directions = np.zeros((2, 2, 3))
    directions[0, :, 2], directions[1, :, 0] = 1, 1
    resized = resize_label(directions, (5, 3))
    np.testing.assert_allclose(np.linalg.norm(resized, axis=2), 1)
    labels = np.array([[1, 255], [60000, 0]], np.uint16)
    assert resize_label(labels, (3, 4)).tolist() == [[1, 1, 255, 255]] * 2 + [[60000, 60000, 0, 0]]


@pytest.mark.parametrize("overshoot", OVERSHOOTS)
def test_a_size_policy_resizes_by_opencvs_rules(overshoot: Overshoot) -> None:
    """Images cubic, labels nearest by OpenCV's choice of a pixel, directions cubic with length 1."""
    cv2 = pytest.importorskip("cv2", reason="OpenCV is in the extra oracles")
    size, image, labels = (17, 9), made_scenes.image(0), made_scenes.labels(0)
    cubic_, nearest_ = ({"dsize": size[::-1], "interpolation": kind} for kind in (cv2.INTER_CUBIC, cv2.INTER_NEAREST))
    floats = cv2.resize(image.astype(np.float64), **cubic_)
    with np.errstate(invalid="ignore"):
        wrapped = np.trunc(floats).astype(np.int64).astype(np.uint8)
    expected = wrapped if overshoot == "as-published" else np.clip(np.rint(floats), 0, 255)
    assert (fit_image(image, size, overshoot, where="") != expected).mean() < 0.01
    for name in ("semseg", "saliency", "depth"):
        fitted = fit_label(task(name), labels[name], made_scenes.SPEC, size, overshoot, where="")
        np.testing.assert_array_equal(fitted, cv2.resize(labels[name], **nearest_))
    vectors = np.where(labels["normals"].any(axis=2)[..., None], labels["normals"] / 127.5 - 1, 0)
    mean = unit(cv2.resize(vectors, **cubic_))
    fitted = fit_label(task("normals"), labels["normals"], made_scenes.SPEC, size, overshoot, where="")
    assert np.abs(fitted.astype(int) - encode_directions(mean)).max() <= 1


def test_the_policies_of_published_code_are_values_of_version_3() -> None:
    for version in (1, 2):
        with pytest.raises(ValueError, match="schema_version"):
            DatasetSpec.model_validate(
                made_scenes.SPEC.model_dump() | {"schema_version": version, "size_policy": "as-published"}
            )
