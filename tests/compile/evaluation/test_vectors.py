"""Which images judge a bundle, and the reference's answers on them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bundle.base.errors import DatasetError
from bundle.formats.contents import VECTORS
from bundle.formats.image_hash import hash_labelled
from bundle.formats.stored_maps import kept_output
from bundle.formats.vectors import Vectors
from bundle.tasks.dataset import FolderDataset
from compile.evaluation import vectors as stage
from compile.evaluation.eager import EagerModel
from compile.evaluation.vectors import Drawn, choose_evaluation, record_vectors
from compile.stage.artifacts import VectorsSettings
from compile.stage.config import EvaluationConfig
from compile.stage.graph_info import read_settings
from tests.compile import made

TASKS = tuple(made.TASKS)


def opening(checkpoint: Path) -> Callable[[int], EagerModel]:
    """What opens the reference."""
    return lambda threads: EagerModel(checkpoint)


def test_the_reference_is_the_unfolded_checkpoint_in_float32(
    checkpoint: Path, dataset: FolderDataset, tmp_path: Path
) -> None:
    drawn = Drawn(made.EVALUATION[:2], ())
    stored = record_vectors(opening(checkpoint), dataset, drawn, tmp_path / "v", hard=0, threads=1)
    with Vectors(stored.file(VECTORS)) as opened:
        first = next(opened.images())
    halved = made.model().half().float()  # the checkpoint is stored as FP16
    with torch.no_grad():
        raw = halved(torch.from_numpy(made.INFO["raw"].preprocess.apply(first.image)))
    assert first.id == made.EVALUATION[0]
    assert all(np.allclose(first.outputs[name], kept_output(raw[name][0].numpy()), atol=1e-5) for name in TASKS)


def test_the_same_inputs_give_the_same_bytes(checkpoint: Path, dataset: FolderDataset, tmp_path: Path) -> None:
    drawn = Drawn(made.EVALUATION[:3], made.EVALUATION[3:])
    both = [record_vectors(opening(checkpoint), dataset, drawn, tmp_path / name, hard=2, threads=1) for name in "ab"]
    assert both[0].sha256 == both[1].sha256


def test_a_long_run_says_how_far_it_is(
    checkpoint: Path, dataset: FolderDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "NOTICED", 0.0)
    lines, drawn = list[str](), Drawn(made.EVALUATION[:2], made.EVALUATION[2:4])
    record_vectors(opening(checkpoint), dataset, drawn, tmp_path / "v", hard=1, threads=1, progress=lines.append)
    assert [line for line in lines if line.endswith("of 2 images")] == [
        "vectors: 0 of 2 images",
        "vectors: 1 of 2 images",
    ]
    assert lines[0] == "vectors: 0 of 2 candidates for hard images"


def test_hard_images_are_added_marked_and_explained(checkpoint: Path, dataset: FolderDataset, tmp_path: Path) -> None:
    drawn = Drawn(made.EVALUATION[:2], made.EVALUATION[2:])
    stored = record_vectors(opening(checkpoint), dataset, drawn, tmp_path / "v", hard=2, threads=1)
    with Vectors(stored.file(VECTORS)) as opened:
        assert opened.roles == ("random", "random", "hard", "hard")
        assert set(opened.ids[2:]) < set(drawn.rest)
        ids = opened.ids
    settings = read_settings(VectorsSettings, stored)
    assert (settings.images, settings.candidates) == (2, len(drawn.rest)) and tuple(settings.hard) == ids[2:]
    assert [reason.partition(":")[0] for reason in settings.hard.values()] == ["rare", "worst"]


def test_a_draw_is_seeded_and_keeps_the_split_s_order(dataset: FolderDataset) -> None:
    draws = [
        choose_evaluation(dataset, EvaluationConfig(split="val", count=3), seed=seed, tasks=("depth",))
        for seed in (0, 0, 1, 2, 3)
    ]
    assert draws[0] == draws[1] and len({draw.ids for draw in draws}) > 1
    assert all(list(draw.ids) == sorted(draw.ids, key=made.EVALUATION.index) and len(draw.ids) == 3 for draw in draws)
    assert all(set(draw.ids) | set(draw.rest) == set(made.EVALUATION) for draw in draws)
    none = choose_evaluation(dataset, EvaluationConfig(split="val", count=3, hard=0), seed=0, tasks=("depth",))
    assert none == Drawn(draws[0].ids, ())


def test_a_larger_draw_holds_the_smaller_one(dataset: FolderDataset) -> None:
    draws = [
        choose_evaluation(dataset, EvaluationConfig(split="val", count=n), seed=5, tasks=()).ids for n in (2, 3, 4)
    ]
    assert set(draws[0]) < set(draws[1]) < set(draws[2])


def test_the_draw_goes_on_until_enough_people_are_seen(dataset: FolderDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    people = {name for name in made.EVALUATION if dataset.label("human_parts", name).any()}
    assert people == set(made.EVALUATION[1::2])
    for seed in range(4):
        asked = EvaluationConfig(split="val", count=1)
        monkeypatch.setattr(stage, "SHOWING", 2)
        chosen = choose_evaluation(dataset, asked, seed=seed, tasks=TASKS)
        assert len(people & set(chosen.ids)) == 2
        monkeypatch.setattr(stage, "SHOWING", len(people) + 1)  # more than the split has: the count stays
        assert len(choose_evaluation(dataset, asked, seed=seed, tasks=TASKS).ids) == 1


def test_the_hash_covers_every_image_every_label_and_their_order(
    scenes: Path, dataset: FolderDataset, tmp_path: Path
) -> None:
    copy = tmp_path / "scenes"
    shutil.copytree(scenes, copy)
    copied = FolderDataset(root=copy, spec=made.SPEC)
    before = hash_labelled(copied, made.EVALUATION, TASKS)
    assert before == hash_labelled(dataset, made.EVALUATION, TASKS)
    shutil.copyfile(copy / "depth" / "v1.png", copy / "depth" / "v0.png")
    relabelled = hash_labelled(copied, made.EVALUATION, TASKS)
    shutil.copyfile(copy / "image" / "v1.png", copy / "image" / "v0.png")
    repainted = hash_labelled(copied, made.EVALUATION, TASKS)
    (copy / "edge" / "v2.png").unlink()
    others = [hash_labelled(copied, made.EVALUATION, TASKS), hash_labelled(dataset, made.EVALUATION[::-1], TASKS)]
    assert len({before, relabelled, repainted, *others}) == 5


def test_a_model_of_other_classes_is_refused(dataset: FolderDataset) -> None:
    dataset.require_channels(made.TASKS)
    with pytest.raises(DatasetError, match="disagree on semseg"):
        dataset.require_channels({"semseg": 17})


def test_the_eager_model_names_the_image_it_refuses(checkpoint: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        EagerModel(checkpoint).run(made.image(0)[:8], name="a strip")
    assert caught.value.where == "a strip"
