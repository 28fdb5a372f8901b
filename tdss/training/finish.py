"""What a finished run leaves: a checkpoint folder whose card says what it was trained on, how long, and what it can do."""

import numpy as np
import torch
from torch import Tensor

from bundle.base.append_log import AppendLog
from bundle.base.errors import CheckpointError
from bundle.base.strict_json import dumps
from bundle.formats.artifacts import write_text
from bundle.formats.outputs import nothing, replacing
from bundle.judging.verdict import delta_m, relative_drop
from bundle.tasks.dataset import FolderDataset
from bundle.tasks.table import task as task_row
from tdss import checkpoint
from tdss.card import CARD, TRIVIAL, Card, load_card
from tdss.model import MultiTaskModel
from tdss.training.config import TrainConfig
from tdss.training.evaluate import evaluate, trivial
from tdss.training.progress import Display
from tdss.training.start import Parameters, count_parameters, stored_part, trained_patterns
from tdss.training.state import Counters


def finish(
    config: TrainConfig,
    model: MultiTaskModel,
    dataset: FolderDataset,
    counters: Counters,
    display: Display,
    log: AppendLog,
) -> None:
    """Round the weights to FP16, measure them as stored, and write the run's checkpoint folder."""
    model.settle()
    stored, tensors = stored_part(config, model)
    round_to_half(tensors)
    ids, tasks = dataset.ids(config.data.validation), tuple(config.model.tasks)
    display.say(f"evaluates {len(ids)} images on {len(tasks)} tasks")
    metrics = evaluate(model, config.model, dataset, ids, tasks)
    constant = trivial(config.model, dataset, dataset.ids(config.data.train), ids)
    log.add(dumps({"step": counters.step, "images": len(ids), "metrics": metrics, "stored": 1}))
    counted = count_parameters(config.model, trained_patterns(config))
    card = make_card(config, counted, dataset, counters, metrics, constant)
    with replacing(config.folder / "checkpoint", nothing) as folder:
        checkpoint.write(folder, stored, tensors, card, storage="float16")
    display.say("done: " + "  ".join(f"{task} {value:.4f}" for task, value in metrics.items()))


def make_card(
    config: TrainConfig,
    counted: Parameters,
    dataset: FolderDataset,
    counters: Counters,
    metrics: dict[str, float],
    constant: dict[str, float],
) -> Card:
    """Return the card of a run; the constant predictors are its first baseline."""
    train, validation = (len(dataset.ids(split)) for split in (config.data.train, config.data.validation))
    backbone = "trained from scratch"
    if config.init_backbone is not None:
        backbone = f"{'frozen' if config.freeze_backbone else 'trained on'} from {config.init_backbone.as_posix()}"
    return Card(
        trained_on=f"{dataset.spec.name}: {train} training images, metrics on {validation} validation images",
        steps=counters.step,
        hours=round(counters.seconds / 3600, 3),
        metrics=metrics,
        baselines={TRIVIAL: constant} if constant else {},
        parameters=counted.total,
        trained=counted.trained,
        notes=f"Run {config.name!r}, config sha256 {counters.config_sha256}; batch {config.batch}, seed {config.seed}; "
        f"backbone {backbone}; {counted.total / 1e6:.2f} M parameters stored as FP16. {dataset.spec.attribution}",
    )


def round_to_half(tensors: dict[str, Tensor]) -> None:
    """Round every float tensor to the nearest FP16 value in place; the dtype stays.

    Raises:
        CheckpointError: a value is not finite in FP16; its tensor is named.
    """
    with torch.no_grad():
        for name, tensor in tensors.items():
            if not tensor.is_floating_point():
                continue
            tensor.copy_(tensor.half())
            if not tensor.isfinite().all():
                raise CheckpointError(
                    f"{name} does not fit FP16",
                    expected="finite values of at most 65504",
                    got="infinity or NaN",
                    where=name,
                    fix="train with a smaller learning rate or more weight decay",
                )


def compare(config: TrainConfig) -> None:
    """Add a finished baseline's metrics, and the Δm against it, to the card of the run it is a baseline of.

    Saying it twice changes nothing, so a baseline that ended before its run is compared by calling training again.

    Raises:
        CheckpointError: there is no such card.
    """
    if config.baseline_of is None:
        return
    folder = config.baseline_of / "checkpoint"
    card, own = load_card(folder), load_card(config.folder / "checkpoint")
    if card is None or own is None:
        raise CheckpointError(
            "the run to compare with has no card",
            expected=CARD,
            got="no such file",
            where=str(folder),
            fix="train that run first, or take baseline_of out of the config",
        )
    baseline = own.metrics
    shared = [task for task in card.metrics if task in baseline]
    drops = [
        float(relative_drop(np.asarray(baseline[task]), np.asarray(card.metrics[task]), task_row(task).direction))
        for task in shared
    ]
    gain = {**card.delta_m_percent, config.name: delta_m(drops)}
    card = card.model_copy(update={"baselines": {**card.baselines, config.name: baseline}, "delta_m_percent": gain})
    write_text(folder / CARD, card.model_dump_json(indent=2) + "\n")


def is_done(config: TrainConfig, fingerprint: str) -> bool:
    """Whether the run's folder holds the checkpoint of exactly this config."""
    card = load_card(config.folder / "checkpoint")
    return card is not None and fingerprint in card.notes
