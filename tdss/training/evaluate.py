"""Metrics of a model on a split, computed as the bundle's regression does: same input, prediction, metric and labels."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bundle.base.errors import CheckpointError, DatasetError
from bundle.tasks.dataset import FolderDataset
from bundle.tasks.metrics import Floats
from bundle.tasks.postprocess import predict
from bundle.tasks.preprocess import Preprocess
from bundle.tasks.spec import Array
from bundle.tasks.table import task as task_row
from tdss.config import ModelConfig

Predictor = Callable[[str], dict[str, Array]]


def evaluate(
    model: nn.Module, config: ModelConfig, dataset: FolderDataset, ids: Iterable[str], tasks: Sequence[str]
) -> dict[str, float]:
    """Return each task's metric over the images ``ids``; the model runs in float32 and evaluation mode.

    Raises:
        DatasetError: an image or label is wrong, the data is of other classes than the model, or no pixel of a task is labelled.
        CheckpointError: an output of the model is not finite.
    """
    dataset.require_channels({task: config.tasks[task] for task in tasks})
    preprocess = Preprocess(**config.image.model_dump())
    dataset = dataset.at((preprocess.height, preprocess.width))
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()

    def outputs(name: str) -> dict[str, Array]:
        image = torch.from_numpy(preprocess.apply(dataset.image(name), name=name)).to(device)
        with torch.inference_mode():
            raw: dict[str, Tensor] = model(image)
        answers = {task: raw[task][0].cpu().numpy() for task in tasks}
        require_finite(answers, name)
        return {task: predict(task_row(task), answer) for task, answer in answers.items()}

    try:
        return measure(outputs, config, dataset, ids, tasks)
    finally:
        model.train(was_training)


def measure(
    predictor: Predictor, config: ModelConfig, dataset: FolderDataset, ids: Iterable[str], tasks: Sequence[str]
) -> dict[str, float]:
    """Return each task's metric of any predictor over the images ``ids``.

    Raises:
        DatasetError: a label is wrong, or no pixel of a task is labelled.
    """
    judges = {task: task_row(task).judge(config.tasks[task]) for task in tasks}
    sums: dict[str, Floats] = {}
    for name in ids:
        predictions = predictor(name)
        for task, judge in judges.items():
            part = judge.per_image(*dataset.judged(task, name, predictions[task]))
            sums[task] = part if task not in sums else sums[task] + part
    metrics = {task: float(judge.reduce(sums[task])) for task, judge in judges.items()}
    require_defined(metrics, dataset)
    return metrics


def require_finite(outputs: Mapping[str, Array], name: str) -> None:
    """Do nothing if every output for the image ``name`` is finite: nothing was compiled, so the checkpoint is to blame.

    Raises:
        CheckpointError: one is not; it is named.
    """
    wrong = [task for task, output in outputs.items() if not np.isfinite(output).all()]
    if wrong:
        raise CheckpointError(
            "the checkpoint's own output is not finite",
            expected="finite outputs on real images",
            got=f"NaN or infinity in {', '.join(wrong)}",
            where=f"image {name}",
            fix="the checkpoint itself overflows: train it again, or give a sound one",
        )


def require_defined(metrics: Mapping[str, float], dataset: FolderDataset) -> None:
    """Do nothing if every metric is a number.

    Raises:
        DatasetError: one is undefined, for no pixel of its labels says anything.
    """
    undefined = [task for task, value in metrics.items() if not math.isfinite(value)]
    if undefined:
        raise DatasetError(
            f"no label of this split says anything about {', '.join(undefined)}",
            expected="a labelled pixel for every task",
            got="labels that are ignored, invalid or empty in every pixel",
            where=str(dataset.root),
            fix="give a split that is labelled for these tasks, or leave these tasks out (tdss evaluate --tasks)",
        )


def trivial(
    config: ModelConfig, dataset: FolderDataset, train_ids: Sequence[str], ids: Sequence[str]
) -> dict[str, float]:
    """Return the metrics of the best constant predictions for the training split, for tasks whose kind has one."""
    kinds = {task: task_row(task).kind for task in config.tasks}
    dataset = dataset.at((config.image.height, config.image.width))
    made = {task: kind.trivial(dataset.label(task, name) for name in train_ids) for task, kind in kinds.items()}
    constants = {task: constant for task, constant in made.items() if constant is not None}
    return measure(lambda name: constants, config, dataset, ids, tuple(constants)) if constants else {}
