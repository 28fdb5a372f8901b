"""Vectors: which images judge a bundle, and what the reference makes of them, stored once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import numpy as np

from bundle.formats.artifacts import load
from bundle.formats.contents import VECTORS
from bundle.formats.vectors import Evaluated, Role, write_vectors
from bundle.tasks.dataset import FolderDataset, decode_label
from bundle.tasks.postprocess import predict
from bundle.tasks.spec import IGNORE
from bundle.tasks.table import Task, task
from compile.evaluation.hard_examples import Case, choose_hard, class_shares
from compile.stage.artifacts import ReferenceVectors, VectorsSettings
from compile.stage.config import EvaluationConfig
from compile.stage.reference_model import ReferenceModel
from compile.stage.store import seal, stage_tools, writing

NOTICED = 10.0
"""Seconds between two lines of progress."""
SHOWING = 100  # images that show more than a task's empty class
CANDIDATES = 64  # the reference is run on so many images more, to find hard ones


class Drawn(NamedTuple):
    """A seeded draw from a split: the ids that judge, in the split's order, and the next ones, among which are hard ones."""

    ids: tuple[str, ...]
    rest: tuple[str, ...]


def choose_evaluation(dataset: FolderDataset, config: EvaluationConfig, *, seed: int, tasks: tuple[str, ...]) -> Drawn:
    """Draw the evaluation ids: the first ``config.count`` of one random order of the split.

    For a task with an empty class (no people: no parts) it goes on in that same order until 100 of them show more than
    it, if the split has so many. An image is never taken *because* it does, which would bend the other tasks' sample.
    """
    ids = dataset.ids(config.split)
    order = [ids[index] for index in np.random.default_rng(seed).permutation(len(ids))]
    count = min(config.count, len(order))
    for row in map(task, tasks):
        if row.kind.empty_class is not None and count < len(order):
            showing = (index for index, identifier in enumerate(order) if _shows_more(dataset, row, identifier))
            enough = next(islice(showing, SHOWING - 1, None), None)
            count = count if enough is None else max(count, enough + 1)
    chosen, rest = set(order[:count]), order[count : count + CANDIDATES] if config.hard else []
    return Drawn(tuple(identifier for identifier in ids if identifier in chosen), tuple(rest))


def record_vectors(
    open_reference: Callable[[int], ReferenceModel],
    dataset: FolderDataset,
    drawn: Drawn,
    out: Path,
    *,
    unlabelled: tuple[str, ...] = (),
    hard: int,
    threads: int,
    progress: Callable[[str], None] = lambda _: None,
) -> ReferenceVectors:
    """Run the reference on the evaluation images and write a ``ReferenceVectors`` artifact in ``out``.

    Its tasks are those that are judged; all but the ``unlabelled`` have labels. Up to ``hard`` of ``drawn.rest`` are added
    as hard images; ids, roles and reasons are recorded in the artifact's settings.

    Raises:
        CheckpointError: the checkpoint is wrong or gives NaN.
        DatasetError: an image or label is wrong.
    """
    from compile.evaluation.eager import torch_threads

    model = open_reference(threads)
    labelled = tuple(name for name in model.tasks if name not in unlabelled)
    with writing(out, ReferenceVectors) as folder, torch_threads(threads):
        rest = counted(drawn.rest if hard and labelled else (), "candidates for hard images", progress)
        channels = {name: model.tasks[name] for name in labelled}
        cases = [_case(one, channels, dataset) for one in _evaluated(model, dataset, labelled, rest, "hard")]
        reasons = choose_hard(cases, hard, channels, dataset.spec)
        images = chain(
            _evaluated(model, dataset, labelled, counted(drawn.ids, "images", progress), "random"),
            _evaluated(model, dataset, labelled, tuple(reasons), "hard"),
        )
        write_vectors(folder / VECTORS, images, tasks=model.tasks, spec=dataset.spec, unlabelled=unlabelled)
        settings = VectorsSettings(images=len(drawn.ids), hard=reasons, candidates=len(cases), ids=drawn.ids)
        seal(ReferenceVectors, folder, settings=settings, tools=stage_tools("vectors"))
    return load(ReferenceVectors, out)


def counted(ids: Sequence[str], what: str, progress: Callable[[str], None]) -> Iterator[str]:
    """Yield the ids, and say after every ``NOTICED`` seconds how many of them were done."""
    told = monotonic()
    for number, identifier in enumerate(ids):
        if monotonic() - told >= NOTICED:
            told = monotonic()
            progress(f"vectors: {number} of {len(ids)} {what}")
        yield identifier


def _evaluated(
    model: ReferenceModel, dataset: FolderDataset, labelled: tuple[str, ...], ids: Iterable[str], role: Role
) -> Iterator[Evaluated]:
    for identifier in ids:
        image = dataset.image(identifier)
        labels = {name: dataset.encoded_label(name, identifier) for name in labelled}
        outputs = model.run(image, name=str(dataset.image_path(identifier)))
        own = dataset.own_labels(labelled, identifier)
        yield Evaluated(id=identifier, image=image, labels=labels, outputs=outputs, role=role, own_labels=own)


def _case(one: Evaluated, tasks: dict[str, int], dataset: FolderDataset) -> Case:
    shares, arrays = {}, {}
    for name, channels in tasks.items():
        row = task(name)
        if row.channels is None:
            shares[name] = class_shares(one.labels[name], channels)
        label = decode_label(name, one.labels[name], dataset.spec)
        arrays[name] = row.judge(channels).per_image(predict(row, one.outputs[name]), label)
    return Case(one.id, shares, arrays)


def _shows_more(dataset: FolderDataset, row: Task, identifier: str) -> bool:
    label = dataset.label(row.name, identifier)
    return bool(((label != row.kind.empty_class) & (label != IGNORE)).any())
