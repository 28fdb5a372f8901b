"""Train TDSS beside DINOv2's ViT-S/14, and put the checkpoint where the repository ships it; a killed run resumes.

python -m studies.dinov2.train
"""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.terminal import print_answer
from compile.stage.command import run_script
from studies.zoo.train import ship
from tdss.train import train

TRAINING = Path("studies/dinov2/tdss.toml")
MODEL = Path("models/dinov2-s")
LARGEST_MB = 6.0  # of the adapters and decoders that the repository ships
MADE_BY = "make dinov2-backbone"


def main(
    config: Annotated[Path, typer.Option(help="The training file.")] = TRAINING,
    out: Annotated[Path, typer.Option(help="The folder of the shipped checkpoint.")] = MODEL,
) -> None:
    """Train adapters and decoders beside the frozen backbone that studies.dinov2.port wrote, and ship the checkpoint.

    Example: python -m studies.dinov2.train
    """
    [trained] = train([config], "cpu", 1)
    out.mkdir(parents=True, exist_ok=True)
    ship(trained, out, LARGEST_MB, MADE_BY)
    print_answer(str(out))


if __name__ == "__main__":
    run_script(main)
