"""Which images judge a bundle, and the reference's answers on them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from bundle.dataset import FolderDataset
from bundle.errors import DatasetError
from bundle.manifest import VECTORS
from bundle.vectors import Vectors
from compile import vectors as stage
from compile.config import EvaluationConfig
from compile.eager import EagerModel
from compile.vectors import check_channels, choose_evaluation, hash_evaluation, record_vectors
from tests.compile import made

TASKS = tuple(made.TASKS)


@pytest.fixture(scope="module")
def dataset(scenes: Path) -> FolderDataset:
    """The tiny labelled folder."""
    return FolderDataset(root=scenes, spec=made.SPEC)


def test_the_reference_is_the_unfolded_checkpoint_in_float32(
    checkpoint: Path, dataset: FolderDataset, tmp_path: Path
) -> None:
    stored = record_vectors(checkpoint, dataset, made.EVALUATION[:2], tmp_path / "v", tasks=tuple(made.TASKS), threads=1)
    with Vectors(stored.file(VECTORS)) as opened:
        first = next(opened.images())
    halved = made.model().half().float()  # the checkpoint is stored as FP16
    with torch.no_grad():
        raw = halved(torch.from_numpy(made.INFO["raw"].preprocess.apply(first.image)))
    assert first.id == made.EVALUATION[0]
    assert all(np.allclose(first.outputs[name], raw[name][0].numpy(), atol=1e-5) for name in TASKS)


def test_the_same_inputs_give_the_same_bytes(checkpoint: Path, dataset: FolderDataset, tmp_path: Path) -> None:
    tasks = tuple(made.TASKS)
    both = [
        record_vectors(checkpoint, dataset, made.EVALUATION, tmp_path / name, tasks=tasks, threads=1) for name in "ab"
    ]
    assert both[0].sha256 == both[1].sha256


def test_a_draw_is_seeded_and_keeps_the_split_s_order(dataset: FolderDataset) -> None:
    draws = [
        choose_evaluation(dataset, EvaluationConfig(split="val", count=3), seed=seed, tasks=("depth",))
        for seed in (0, 0, 1, 2, 3)
    ]
    assert draws[0] == draws[1] and len(set(draws)) > 1
    assert all(list(draw) == sorted(draw) and len(draw) == 3 for draw in draws)


def test_people_are_added_for_the_parts_task(dataset: FolderDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "PEOPLE", 3)
    people = {name for name in made.EVALUATION if dataset.label("human_parts", name).any()}
    assert people == {"v1", "v3", "v5"}
    for seed in range(4):
        chosen = choose_evaluation(dataset, EvaluationConfig(split="val", count=2), seed=seed, tasks=TASKS)
        assert people <= set(chosen) and 3 <= len(chosen) <= 5


def test_the_hash_covers_every_label(scenes: Path, dataset: FolderDataset, tmp_path: Path) -> None:
    copy = tmp_path / "scenes"
    shutil.copytree(scenes, copy)
    copied = FolderDataset(root=copy, spec=made.SPEC)
    before = hash_evaluation(copied, made.EVALUATION, TASKS)
    assert before == hash_evaluation(dataset, made.EVALUATION, TASKS)
    shutil.copyfile(copy / "depth" / "v1.png", copy / "depth" / "v0.png")
    assert hash_evaluation(copied, made.EVALUATION, TASKS) != before


def test_a_model_of_other_classes_is_refused(dataset: FolderDataset) -> None:
    check_channels(made.TASKS, dataset)
    with pytest.raises(DatasetError, match="disagree on semseg"):
        check_channels({"semseg": 17}, dataset)


def test_the_eager_model_names_the_image_it_refuses(checkpoint: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        EagerModel(checkpoint).run(made.image(0)[:8], name="a strip")
    assert caught.value.where == "a strip"
