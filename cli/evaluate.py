"""``tdss evaluate``: a checkpoint's metrics on a split, in PyTorch, beside what its card says."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bundle.dataset import SPEC_FILE, FolderDataset, load_spec
from bundle.tasks import task


def main(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint folder: config.toml + model.safetensors.")],
    data: Annotated[Path, typer.Option(help="A labelled folder.")] = Path("data/scenes"),
    split: Annotated[str, typer.Option(help="Which of its images.")] = "val",
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
) -> None:
    """Measure every task of a checkpoint on a labelled split, without compiling anything.

    Example: tdss evaluate models/default --data data/scenes --split val
    """
    from tdss.checkpoint import load, load_card
    from tdss.training.evaluate import evaluate

    config, model = load(checkpoint)
    dataset = FolderDataset(root=data, spec=load_spec(data / SPEC_FILE))
    ids = track(dataset.ids(split), description="images", console=Console(stderr=True))
    metrics = evaluate(model, config, dataset, ids, tuple(config.tasks))
    if as_json:
        sys.stdout.write(json.dumps(metrics) + "\n")
        return
    card = load_card(checkpoint)
    Console().print(_table(metrics, card.metrics if card else {}))


def _table(metrics: dict[str, float], stated: dict[str, float]) -> Table:
    table = Table("task", "metric", "measured", "its card says")
    for name, value in metrics.items():
        said = f"{stated[name]:.4f}" if name in stated else "nothing"
        table.add_row(name, task(name).metric, f"{value:.4f}", said)
    return table
