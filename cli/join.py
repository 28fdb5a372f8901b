"""``tdss join``: a checkpoint that names its base, with all tensors in one file."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer


def main(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint folder whose config.toml names a base.")],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to write.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the folder as JSON.")] = False,
) -> None:
    """Write a checkpoint that names its base as one with all its tensors, in float32.

    No stage needs it: each takes a checkpoint with a base as it is.

    Example: tdss join runs/small/checkpoint --out runs/small-joined
    """
    from tdss.checkpoint import join

    join(checkpoint, out)
    print_answer(dumps({"checkpoint": str(out)}) if as_json else str(out))
