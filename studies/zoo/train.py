"""Train the rows of the zoo, and put each checkpoint where the zoo ships it; a killed run resumes.

python -m studies.zoo.train --only mtlora
"""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from bundle.base.errors import CheckpointError
from bundle.base.terminal import print_answer
from compile.stage.command import run_script
from studies.zoo.rows import ZOO, read_rows
from tdss.card import CARD
from tdss.checkpoint import write_config
from tdss.config_file import CONFIG, WEIGHTS, read_config
from tdss.train import train

LARGEST_MB = 4.0  # of a checkpoint that the repository ships


def ship(trained: Path, out: Path, largest_mb: float, made_by: str = "") -> None:
    """Copy a trained checkpoint into the folder ``out``; its base is then named from there, with the command that makes it.

    Raises:
        CheckpointError: it names no base, or is too large to be shipped.
    """
    config, megabytes = read_config(trained / CONFIG), (trained / WEIGHTS).stat().st_size / 1e6
    if config.base is None or megabytes > largest_mb:
        raise CheckpointError(
            "this checkpoint is not shipped",
            expected=f"one that names its base and has at most {largest_mb} MB",
            got=f"{megabytes:.2f} MB, {'no base' if config.base is None else 'a base'}",
            where=str(trained),
            fix='train with stores = "trained" and smaller ranks',
        )
    path = os.path.relpath((trained / config.base.path).resolve(), out.resolve())
    base = config.base.model_copy(update={"path": Path(path).as_posix(), "made_by": made_by})
    for name in (WEIGHTS, CARD):
        shutil.copyfile(trained / name, out / name)
    write_config(out / CONFIG, config.model_copy(update={"base": base}))


def main(
    only: Annotated[list[str] | None, typer.Option(help="A row by name; may be repeated. Default: all.")] = None,
    zoo: Annotated[Path, typer.Option(help="The folder of the rows.")] = ZOO,
) -> None:
    """Train the rows of the zoo from the shipped model's backbone; a finished row is left as it is, a killed one resumes.

    Example: python -m studies.zoo.train --only mtlora
    """
    for row in read_rows(zoo, tuple(only or ())):
        for trained in train([row.training], "cpu", 1):
            ship(trained, row.folder, LARGEST_MB)
            print_answer(str(row.folder))


if __name__ == "__main__":
    run_script(main)
