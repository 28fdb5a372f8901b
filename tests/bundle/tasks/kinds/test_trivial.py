"""The best constant predictions against a mean over all pixels at once."""

import numpy as np

from bundle.tasks.table import TASKS, task


def test_depth_is_the_mean_of_valid_pixels() -> None:
    labels = np.random.default_rng(0).random((3, 8, 9), np.float32) * 5 * (np.arange(9) > 2)
    got = task("depth").kind.trivial(iter(labels))
    np.testing.assert_allclose(got, np.full((8, 9), labels[labels > 0].mean(dtype=np.float64)), rtol=1e-6)


def test_normals_are_the_direction_of_the_mean() -> None:
    labels = np.random.default_rng(1).normal(size=(3, 3, 8, 9)).astype(np.float32)
    mean = labels.astype(np.float64).mean((0, 2, 3))
    got = task("normals").kind.trivial(iter(labels))
    assert got is not None and got.shape == (3, 8, 9)
    np.testing.assert_allclose(got[:, 5, 7], mean / np.linalg.norm(mean), rtol=1e-5)


def test_no_other_kind_has_one() -> None:
    label = np.zeros((4, 4), np.uint8)
    others = [row for row in TASKS if row.name not in ("depth", "normals")]
    assert [row.kind.trivial(iter([label])) for row in others] == [None] * len(others)
