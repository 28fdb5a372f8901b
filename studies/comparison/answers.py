"""What a subject answers: each task's metric for each labelled image, or its plain outputs where there are no labels."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen
from bundle.formats.manifest import default_budgets
from bundle.judging.verdict import relative_drop
from bundle.tasks.agreement import signal_energy, sqnr_db
from bundle.tasks.dataset import FolderDataset, read_image
from bundle.tasks.metrics import Floats
from bundle.tasks.table import task
from compile.quantization.accuracy import AccuracyEvaluator, read_labelled
from compile.stage.graph_info import GraphInfo
from studies.comparison.subject import Infer

ARRAYS = "answers.npz"


class Questions(Frozen):
    """What to answer, and where to write it: the ids of a labelled folder, or images without labels."""

    dataset: FolderDataset | None
    ids: tuple[str, ...]
    images: tuple[Path, ...]
    out: Path


def write_answers(questions: Questions, info: GraphInfo, infer: Infer) -> None:
    """Write ``questions.out``: float64 ``[images, …]`` of a metric, or float32 ``[images, C, H, W]``, by task."""
    if questions.dataset is not None:
        found: Mapping[str, np.ndarray] = evaluator_of(questions.dataset, questions.ids, info).measure(infer)
    else:
        rows = [infer(info.feed(read_image(path), name=str(path))) for path in questions.images]
        found = {name: np.concatenate([row[name] for row in rows]) for name in info.tasks}
    with questions.out.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **found)


def evaluator_of(dataset: FolderDataset, ids: tuple[str, ...], info: GraphInfo) -> AccuracyEvaluator:
    """Return the labelled images as they are judged, without a reference."""
    return AccuracyEvaluator(read_labelled(dataset, ids, info), info, default_budgets(info.tasks, strict=False), 0)


def read_answers(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays by task."""
    with np.load(path, allow_pickle=False) as opened:
        return {name: opened[name] for name in opened.files}


def drops(reference: Mapping[str, Floats], measured: Mapping[str, Floats], info: GraphInfo) -> dict[str, float]:
    """Return each task's relative drop of its metric against the reference; positive is worse, NaN where it has none."""
    found = {}
    for name, channels in info.tasks.items():
        reduce = task(name).judge(channels).reduce
        base, own = (np.asarray(reduce(one[name].sum(axis=0))) for one in (reference, measured))
        found[name] = float(relative_drop(base, own, task(name).direction))
    return found


def ratios_db(reference: Mapping[str, Floats], outputs: Mapping[str, Floats]) -> dict[str, float]:
    """Return each task's signal-to-noise ratio against the reference over all images, dB; NaN where they are equal.

    Raises:
        ArtifactError: an output has another shape.
    """
    wrong = [name for name in reference if outputs[name].shape != reference[name].shape]
    if wrong:
        raise ArtifactError(
            f"{wrong[0]!r} is not what the reference gives",
            expected=str(reference[wrong[0]].shape),
            got=str(outputs[wrong[0]].shape),
            where="the answers of a subject",
            fix="remove the folder of the benchmark",
        )
    return {name: sqnr_db(signal_energy(reference[name], outputs[name])) for name in reference}
