"""Vectors: which images judge a bundle, and what the unfolded checkpoint makes of them, stored once."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bundle.artifacts import hash_file, load
from bundle.dataset import IGNORE, FolderDataset
from bundle.errors import DatasetError
from bundle.manifest import VECTORS
from bundle.tasks import task
from bundle.vectors import Evaluated, write_vectors
from calibration.sampling import choose
from compile.config import EvaluationConfig
from compile.eager import EagerModel, torch_threads
from compile.store import seal, tool_versions, writing
from compile.stored import ReferenceVectors

TOOLS = ("torch", "numpy")
PEOPLE, PARTS = 100, "human_parts"


def choose_evaluation(
    dataset: FolderDataset, config: EvaluationConfig, *, seed: int, tasks: tuple[str, ...]
) -> tuple[str, ...]:
    """Draw the evaluation ids; for the parts task, add images with people until there are 100 or no more in the split."""
    ids = dataset.ids(config.split)
    chosen = choose(ids, config.count, seed=seed)
    if PARTS not in tasks or len(chosen) == len(ids):
        return chosen
    missing = PEOPLE - sum(_has_people(dataset, identifier) for identifier in chosen)
    rest = [identifier for identifier in ids if identifier not in set(chosen)]
    order = np.random.default_rng(seed).permutation(len(rest))
    more = [rest[place] for place in order if _has_people(dataset, rest[place])][: max(missing, 0)]
    wanted = {*chosen, *more}
    return tuple(identifier for identifier in ids if identifier in wanted)


def hash_evaluation(dataset: FolderDataset, ids: tuple[str, ...], tasks: tuple[str, ...]) -> str:
    """Return one hash over every image and label file of these ids, and the data set's spec."""
    digest = hashlib.sha256(dataset.spec.model_dump_json().encode())
    for identifier in ids:
        labels = [dataset.root / name / f"{identifier}.png" for name in tasks]
        for path in (dataset.image_path(identifier), *labels):
            digest.update(f"{path.parent.name}/{path.name}\0{hash_file(path) if path.is_file() else ''}\n".encode())
    return digest.hexdigest()


def check_channels(model_tasks: dict[str, int], dataset: FolderDataset) -> None:
    """Check that the model's outputs fit the data set's classes.

    Raises:
        ConfigError: a task is unknown.
        DatasetError: a task has another number of channels than the data has classes.
    """
    for name, channels in model_tasks.items():
        expected = dataset.spec.channels(task(name))
        if channels != expected:
            raise DatasetError(
                f"the model and the data set disagree on {name}", expected=f"{expected} channels (the data set's spec)",
                got=f"{channels} (the checkpoint's config.toml)", where=str(dataset.root),
                fix="give the data that the model was trained for, or its own spec with --dataset",
            )  # fmt: skip


def record_vectors(
    checkpoint: Path, dataset: FolderDataset, ids: tuple[str, ...], out: Path, *, tasks: tuple[str, ...], threads: int
) -> ReferenceVectors:
    """Run the unfolded checkpoint on the evaluation images and write a ``ReferenceVectors`` artifact in ``out``.

    ``tasks`` are those that are judged; no other has to be labelled.

    Raises:
        CheckpointError: the checkpoint is wrong or gives NaN.
        DatasetError: an image or label is wrong.
    """
    model = EagerModel(checkpoint)
    model.keep(tasks)
    with writing(out) as folder, torch_threads(threads):
        write_vectors(folder / VECTORS, _evaluated(model, dataset, ids), tasks=model.config.tasks, spec=dataset.spec)
        seal(
            ReferenceVectors, folder, parent=None, inputs=(), outputs=(), settings={"images": len(ids)},
            tools=tool_versions(*TOOLS),
        )  # fmt: skip
    return load(ReferenceVectors, out)


def _evaluated(model: EagerModel, dataset: FolderDataset, ids: tuple[str, ...]) -> Iterator[Evaluated]:
    for identifier in ids:
        image = dataset.image(identifier)
        labels = {name: dataset.encoded_label(name, identifier) for name in model.config.tasks}
        outputs = model.run(image, name=str(dataset.image_path(identifier)))
        yield Evaluated(id=identifier, image=image, labels=labels, outputs=outputs)


def _has_people(dataset: FolderDataset, identifier: str) -> bool:
    label = dataset.label(PARTS, identifier).astype(np.uint8)
    return bool(((label > 0) & (label != IGNORE)).any())
