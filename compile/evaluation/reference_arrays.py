"""The reference's per-image arrays of a whole labelled split, for a device that judges on one (bundle/judging/image_sources.py)."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from bundle.formats.outputs import require_file
from bundle.judging.image_sources import ARRAYS, References, write_arrays
from bundle.tasks.dataset import FolderDataset
from bundle.tasks.metrics import Floats
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from compile.evaluation.eager import EagerModel
from tdss.config_file import checkpoint_digest
from tdss.training.evaluate import require_defined, require_finite

Track = Callable[[Iterable[str]], Iterable[str]]


def measure_reference(
    checkpoint: Path,
    dataset: FolderDataset,
    ids: tuple[str, ...],
    track: Track,
    tasks: tuple[str, ...] = (),
    size: tuple[int, int] | None = None,
) -> References:
    """Run the checkpoint in eager PyTorch on the images ``ids`` and return every figure's arrays, float64 ``[N, …]``.

    ``tasks`` are those that are measured, and no other has to be labelled; empty: all of the checkpoint's.
    ``size`` is that of the images the model takes; None: its own.

    Raises:
        ConfigError: the checkpoint has no such task.
        DatasetError: an image or a label is missing or does not fit, the data is of other classes than the model, or no
            pixel of a task is labelled.
        CheckpointError: the reference's output is not finite.
    """
    model = EagerModel(checkpoint, size)
    model.keep(tasks or tuple(model.config.tasks))
    dataset.require_channels(model.config.tasks)
    dataset = dataset.at((model.preprocess.height, model.preprocess.width))
    found: dict[str, dict[str, list[Floats]]] = {name: {} for name in model.config.tasks}
    for identifier in track(ids):
        outputs = model.run(dataset.image(identifier), name=identifier)
        require_finite(outputs, identifier)
        for name, channels in model.config.tasks.items():
            prediction, label = dataset.judged(name, identifier, predict(task(name), outputs[name]))
            for figure in task(name).figures(channels):
                found[name].setdefault(figure.name, []).append(figure.per_image(prediction, label))
    references = {name: {key: np.stack(arrays) for key, arrays in rows.items()} for name, rows in found.items()}
    require_defined(gated_metrics(references, model.config.tasks), dataset)
    return references


def gated_metrics(references: References, channels: Mapping[str, int]) -> dict[str, float]:
    """Return the metric that gates each task, from its per-image arrays."""
    rows = {name: task(name).judge(channels[name]) for name in references}
    return {name: row.reduce(references[name][task(name).metric].sum(axis=0)) for name, row in rows.items()}


def record_reference(
    checkpoint: Path,
    dataset: FolderDataset,
    ids: tuple[str, ...],
    out: Path,
    track: Track,
    tasks: tuple[str, ...] = (),
    size: tuple[int, int] | None = None,
) -> References:
    """Measure the reference and write its arrays to ``out``; see ``measure_reference``.

    Raises:
        InputError: something else than such arrays is at ``out``, or ``out`` is an input or inside one.
    """
    require_file(out, ARRAYS, [checkpoint, dataset.root])
    arrays = measure_reference(checkpoint, dataset, ids, track, tasks, size)
    write_arrays(out, ids, arrays, checkpoint_digest(checkpoint, size))
    return arrays
