"""``tdss train``: adapters, decoders or a whole model, as TOML files say."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer


def main(
    config: Annotated[
        list[Path],
        typer.Option(
            help="A run's TOML file; docs/reference/training.md lists its keys. Give it again for the next run."
        ),
    ],
    accelerator: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto: a GPU if there is one.")] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, max=LIMITS["processes"].most, help="How many processes train, one per GPU.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checkpoints' folders as JSON.")] = False,
) -> None:
    """Train one model or several, in order; a killed run resumes.

    Each result is RUNS/NAME/checkpoint. Relative paths in a TOML file begin at the working directory.

    Example: tdss train --config my.toml
    """
    from tdss.train import train

    made = [str(path) for path in train(config, accelerator, devices)]
    if made:
        print_answer(dumps({"checkpoints": made}) if as_json else "\n".join(made))
