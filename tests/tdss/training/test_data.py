"""Batches: every epoch sees every sample once, and a batch depends on (seed, step) alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bundle.base.errors import DatasetError
from tdss.backbones.config import ImageConfig
from tdss.training import data
from tdss.training.config import AugmentConfig
from tests.tdss.training.tiny import ALL_TASKS, write_folder

IMAGE = ImageConfig(height=32, width=32)


def test_every_epoch_is_a_permutation_and_none_is_like_another() -> None:
    stream = [index for step in range(15) for index in data.indices(10, 4, step, seed=3)]
    epochs = [stream[start : start + 10] for start in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_a_batch_larger_than_the_split_repeats_it() -> None:
    assert sorted(data.indices(2, 6, 0, seed=0)) == [0, 0, 0, 1, 1, 1]


def test_a_batch_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    dataset = data.open_dataset(write_folder(tmp_path / "set"), tmp_path / "set" / "dataset.json")
    ram = data.decode(dataset, dataset.ids("train"), tuple(ALL_TASKS), IMAGE)
    config = AugmentConfig(scale=0.6, brightness=0.2)

    def batch(step: int) -> data.Batch:
        return data.make_batch(ram, data.indices(len(ram), 2, step, 5), IMAGE, config, data.generator(5, step, 2))

    first, later, again = batch(1), batch(2), batch(1)
    assert torch.equal(first.images, again.images)
    assert all(torch.equal(first.labels[task], again.labels[task]) for task in ALL_TASKS)
    assert not torch.equal(first.images, later.images)


def test_without_augmentation_a_batch_holds_the_dataset_s_own_labels(tmp_path: Path) -> None:
    dataset = data.open_dataset(write_folder(tmp_path / "set"), tmp_path / "set" / "dataset.json")
    ids = dataset.ids("train")
    ram = data.decode(dataset, ids, tuple(ALL_TASKS), IMAGE)
    batch = data.make_batch(ram, [2], IMAGE, AugmentConfig(flip=0.0, zoom=0.0), data.generator(0, 0, 0))
    for task in ALL_TASKS:
        expected = np.asarray(dataset.label(task, ids[2]), np.float32)
        np.testing.assert_allclose(batch.labels[task][0].float().numpy(), expected, rtol=1e-3, atol=1e-3)  # float16


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    dataset = data.open_dataset(write_folder(tmp_path / "set"), tmp_path / "set" / "dataset.json")
    with pytest.raises(DatasetError, match="000 has another size"):
        data.decode(dataset, dataset.ids("train"), (), ImageConfig(height=64, width=32))
