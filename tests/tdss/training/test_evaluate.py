"""The constant predictors against a mean over all pixels at once."""

from pathlib import Path

import numpy as np

from tdss.training.data import open_dataset
from tdss.training.evaluate import mean_label
from tests.tdss.training.tiny import write_folder


def test_mean_normal_and_mean_depth(tmp_path: Path) -> None:
    dataset = open_dataset(write_folder(tmp_path / "set"), tmp_path / "set" / "dataset.json")
    ids = dataset.ids("train")
    depth = np.stack([dataset.label("depth", name) for name in ids]).astype(np.float64)
    np.testing.assert_allclose(mean_label("depth", dataset, ids), np.full((32, 32), depth[depth > 0].mean()), rtol=1e-6)
    normals = np.stack([dataset.label("normals", name) for name in ids]).astype(np.float64)
    mean = normals.mean((0, 2, 3))
    got = mean_label("normals", dataset, ids)
    assert got.shape == (3, 32, 32)
    np.testing.assert_allclose(got[:, 5, 7], mean / np.linalg.norm(mean), rtol=1e-5)
