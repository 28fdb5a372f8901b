"""``tdss evaluate``: a checkpoint's metrics on a split, in PyTorch, beside what its card says."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import track
from rich.table import Table

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer, say
from bundle.formats.outputs import require_file
from bundle.judging.image_sources import ARRAYS
from bundle.judging.verdict import relative_drop
from bundle.tasks.dataset import SPEC_FILE, FolderDataset, load_spec, output_channels
from bundle.tasks.table import task
from compile.stage.console import EscapingConsole
from compile.stage.options import SIZE, Data


def main(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint folder: config.toml + model.safetensors.")],
    data: Data,
    split: Annotated[str, typer.Option(help="Which of its images.")] = "val",
    tasks: Annotated[
        str, typer.Option(help="These only: semseg,depth; no other has to be labelled. Default: every task.")
    ] = "",
    size: Annotated[tuple[int, int] | None, SIZE] = None,
    arrays: Annotated[
        Path | None, typer.Option(help="Also keep the per-image arrays here: tdss regress --data DIR --reference FILE.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Measure every task of a checkpoint on a labelled split, without compiling anything.

    Example: tdss evaluate models/default --split val
    """
    from tdss.card import TRIVIAL, load_card
    from tdss.checkpoint import stored_halves
    from tdss.config_file import CONFIG, WEIGHTS, read_config

    if arrays is not None:
        require_file(arrays, ARRAYS, [checkpoint, data])
    dataset = FolderDataset(root=data, spec=load_spec(data / SPEC_FILE))
    read_config(checkpoint / CONFIG)
    card = load_card(checkpoint)
    if halves := stored_halves(checkpoint / WEIGHTS):
        say(halves)
    names = tuple(tasks.split(",")) if tasks else ()
    if arrays is None:
        metrics = _evaluate(checkpoint, dataset, split, names, size)
    else:
        metrics = _record(checkpoint, dataset, split, names, size, arrays)
    for name, constant in (card.baselines.get(TRIVIAL, {}) if card else {}).items():
        if (
            name in metrics
            and relative_drop(np.asarray(constant), np.asarray(metrics[name]), task(name).direction) >= 0
        ):
            say(
                f"{name}: {metrics[name]:.4f} is no better than a constant answer ({constant:.4f}): it is not trained yet"
            )
    if as_json:
        print_answer(dumps(metrics))
        return
    EscapingConsole().print(_table(metrics, card.metrics if card else {}))


def _progress(ids: Iterable[str]) -> Iterable[str]:
    return track(list(ids), description="images", console=EscapingConsole(stderr=True))


def _evaluate(
    checkpoint: Path, dataset: FolderDataset, split: str, tasks: tuple[str, ...], size: tuple[int, int] | None
) -> dict[str, float]:
    from tdss.resized import load_at
    from tdss.training.evaluate import evaluate

    _, model, changes = load_at(checkpoint, size)
    for change in changes:
        say(change)
    if tasks:
        model.keep(tasks)
    return evaluate(model, model.config, dataset, _progress(dataset.ids(split)), tuple(model.config.tasks))


def _record(
    checkpoint: Path,
    dataset: FolderDataset,
    split: str,
    tasks: tuple[str, ...],
    size: tuple[int, int] | None,
    out: Path,
) -> dict[str, float]:
    """Measure as the bundle's reference is measured, and keep every figure's arrays."""
    from compile.evaluation.reference_arrays import gated_metrics, record_reference

    figures = record_reference(checkpoint, dataset, dataset.ids(split), out, _progress, tasks, size)
    say(f"written: {out}")
    return gated_metrics(figures, {name: output_channels(task(name), dataset.spec) for name in figures})


def _table(metrics: dict[str, float], stated: dict[str, float]) -> Table:
    table = Table("task", "metric", "measured", "its card says")
    for name, value in metrics.items():
        on_card = f"{stated[name]:.4f}" if name in stated else "nothing"
        table.add_row(name, task(name).metric, f"{value:.4f}", on_card)
    return table
