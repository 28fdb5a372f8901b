"""What is done to a checkpoint's module before the export: only the tasks that are asked for, gates frozen if asked to.

Both change which function the graph computes; everything after the export keeps it. What was decided travels with the
graph, as lines of fold.json.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bundle.fold import FoldRecord
from bundle.manifest import default_budgets
from bundle.preprocess import Preprocess
from compile.config import ExportOptions
from compile.folds.cost import trace_cost
from compile.freeze import freeze_gates, read_labels
from compile.images import ImageFiles
from tdss.checkpoint import load, load_card, stored_halves
from tdss.config import ModelConfig
from tdss.config_file import WEIGHTS
from tdss.model import MultiTaskModel

TASK_SUBSET = "task_subset"


class Prepared(NamedTuple):
    """The module to export, and each decision that made it."""

    model: MultiTaskModel
    records: list[FoldRecord]


def prepare(
    checkpoint: Path, options: ExportOptions, calibration: ImageFiles, progress: Callable[[str], None]
) -> Prepared:
    """Load a checkpoint, restrict it to the tasks asked for, and freeze gates on ``calibration`` if asked to.

    Raises:
        ConfigError: the checkpoint's config.toml is wrong, or a task is not one of the model's.
        CheckpointError: its weights are wrong.
        DatasetError: an image cannot be read or has another size than the model's.
    """
    config, model = load(checkpoint)
    if halves := stored_halves(checkpoint / WEIGHTS):
        progress(halves)
    records: list[FoldRecord] = []
    if options.tasks:
        model, records = restrict(model, options.tasks, (1, 3, config.image.height, config.image.width))
    if options.freeze_gates:
        model, frozen = _freeze(checkpoint, model, calibration, options, progress)
        records += frozen
    return Prepared(model, records)


def restrict(
    model: MultiTaskModel, tasks: Sequence[str], shape: Sequence[int]
) -> tuple[MultiTaskModel, list[FoldRecord]]:
    """Return a copy that answers ``tasks`` only, and the line that says what that saves.

    F_t = G + D_t + γ_t ⊙ W_c [G ; mean_t D_t] of the tasks kept is what it was: the mean still runs over every trained task,
    so with TSAI the gates keep all their rows. A task's γ, streams and decoder leave with it; without TSAI its gates' rows too.

    Raises:
        ConfigError: a task is not one of the model's.
    """
    kept = deepcopy(model)
    kept.keep(tasks)
    gone = [task for task in model.config.tasks if task not in kept.config.tasks]
    if not gone:
        return kept, []
    before, after = trace_cost(model, shape).total, trace_cost(kept, shape).total
    line = FoldRecord(
        module="decoders", rule=TASK_SUBSET, decision="folded", reason=f"what only {', '.join(gone)} needs is gone",
        exact=True, max_abs_error=0.0, params_before=before.params, params_after=after.params, macs_before=before.macs,
        macs_after=after.macs, bytes_before=before.moved, bytes_after=after.moved, form=",".join(kept.config.tasks),
    )  # fmt: skip
    return kept, [line]


def read_batch(config: ModelConfig, images: ImageFiles) -> Tensor:
    """Return the images as the model takes them: float32 ``[batch, 3, H, W]``."""
    preprocess = Preprocess(**config.image.model_dump())
    return torch.cat([torch.from_numpy(preprocess.apply(image, name=name)) for name, image in images.read()])


def _freeze(
    checkpoint: Path, model: MultiTaskModel, calibration: ImageFiles, options: ExportOptions,
    progress: Callable[[str], None],
) -> tuple[MultiTaskModel, list[FoldRecord]]:  # fmt: skip
    card = load_card(checkpoint)
    budgets = default_budgets(dict(model.config.tasks), strict=False) | {
        task: budget for task, budget in options.budgets.items() if task in model.config.tasks
    }
    labels = {} if options.labels is None else read_labels(options.labels, calibration.paths, model.config.tasks)
    if not labels:
        progress("freeze: not every calibration image has its labels: the reference's predictions take their place")
    return freeze_gates(
        model, list(read_batch(model.config, calibration).split(1)), budgets=budgets, labels=labels,
        scales={} if card is None else card.metrics, progress=progress,
    )  # fmt: skip
