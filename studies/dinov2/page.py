"""The tables of docs/studies/dinov2.md: the cards of two checkpoints side by side, and what the bundles of one cost.

python -m studies.dinov2.page build/dinov2-s/intel build/dinov2-s/jetson
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bundle.base.errors import CheckpointError
from bundle.base.terminal import print_answer
from bundle.formats.manifest import load_bundle
from bundle.formats.tensorrt_checks import read_lint, read_proof
from bundle.judging import wording
from bundle.judging.choice import read_bench
from bundle.judging.regression_report import read_report
from bundle.judging.verdict import relative_drop
from bundle.tasks.table import task
from compile.stage.command import run_script
from studies.bundle_cells import measured, milliseconds, plan_cells, table, verdict, worst_drops
from studies.bundle_files import Made
from studies.generated_section import replace_section
from tdss.card import CARD, Card, load_card
from tdss.config_file import WEIGHTS

PAGE = Path("docs/studies/dinov2.md")
MODELS = (Path("models/default"), Path("models/dinov2-s"))


def cards(models: Sequence[Path]) -> str:
    """Return a table of the tasks' metrics on the validation images, and a line on each model's size and training.

    The last model is compared with the first.

    Raises:
        CheckpointError: a model has no card.
    """
    read = [_card(model) for model in models]
    rows, better = [], 0
    for name in read[0].metrics:
        row, values = task(name), [card.metrics[name] for card in read]
        gain = -float(relative_drop(np.asarray(values[0]), np.asarray(values[-1]), row.direction))
        better += gain > 0
        cells = [wording.metric_value(row.metric, value) for value in values]
        rows.append([name, wording.metric_name(row.metric), *cells, wording.percent(gain)])
    sizes = [
        f"`{model}`: {_counted(card)}{wording.file_size((model / WEIGHTS).stat().st_size)}; {card.steps} steps, {60 * card.hours:.0f} minutes."
        for model, card in zip(models, read, strict=True)
    ]
    head = ("task", "metric", *map(str, models), "better by")
    return "\n\n".join([table(head, rows), f"{better} of {len(rows)} tasks are better.", "\n".join(sizes)])


def bundles(folders: Sequence[Path], command: str) -> str:
    """Return a table of bundles: which variant ships, what it costs, and how its tasks fare.

    Raises:
        ArtifactError: a bundle is damaged.
    """
    made = [_bundle(folder) for folder in folders]
    head = (
        "target",
        "GMAC exported",
        "GMAC folded",
        "ships",
        "ms",
        "kernels",
        "MB moved",
        "attentions fused",
        "lint errors",
    )
    rows = [
        [
            one.manifest.target,
            *(f"{macs / 1e9:.2f}" for macs in (one.folding.macs_before, one.folding.macs_after)),
            one.manifest.shipped,
            milliseconds(one),
            *(plan_cells(one) if one.proof else ("", "", "")),
            "" if one.lint is None else str(sum(len(graph.errors) for graph in one.lint.graphs)),
            worst_drops(one.report),
            verdict(one),
        ]
        for one in made
    ]
    return "\n\n".join([measured(made, command), table((*head, "INT8, worst task", "verdict"), rows)])


def _counted(card: Card) -> str:
    """Write a card's numbers of parameters; an old card has none."""
    if card.parameters is None or card.trained is None:
        return ""
    return f"{wording.count(card.parameters)} parameters, {wording.count(card.trained)} of them trained; "


def _card(model: Path) -> Card:
    card = load_card(model)
    if card is None:
        raise CheckpointError(
            "this checkpoint has no card",
            expected=CARD,
            got="no such file",
            where=str(model),
            fix="give a checkpoint that tdss train wrote",
        )
    return card


def _bundle(folder: Path) -> Made:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    read = (
        load_bundle(folder).manifest,
        read_report(folder),
        read_bench(folder),
        read_lint(folder),
        read_proof(folder),
    )
    return Made(folder, size, 0.0, *read)


def main(
    made: Annotated[list[Path] | None, typer.Argument(help="Bundles of the model beside DINOv2.")] = None,
    command: Annotated[
        str, typer.Option(help="What was typed to build them.")
    ] = "make target=... model=models/dinov2-s",
    page: Annotated[Path, typer.Option(help="The page with the tables.")] = PAGE,
) -> None:
    """Write the cards of models/default and models/dinov2-s, and what bundles cost, into a page.

    Example: python -m studies.dinov2.page build/dinov2-s/intel build/dinov2-s/jetson
    """
    replace_section(page, "cards", cards(MODELS), title="A model beside DINOv2")
    if made:
        replace_section(page, "bundles", bundles(made, command), title="A model beside DINOv2")
    print_answer(str(page))


if __name__ == "__main__":
    run_script(main)
