"""``tdss import``: published weights into a checkpoint folder: a backbone to train from, or a whole released model."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.errors import InputError
from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer


def main(
    weights: Annotated[Path, typer.Option(help="The file, .pth or .safetensors: a Swin, a ViT or a released model.")],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to write.")],
    config: Annotated[
        Path | None,
        typer.Option(
            help=r"The model's config.toml; its \[backbone] is the published one's. With --from what weights do not tell."
        ),
    ] = None,
    system: Annotated[
        str,
        typer.Option(
            "--from", help="The file is a whole model that the released code of a system saved, as tadformer."
        ),
    ] = "",
    seed: Annotated[int, typer.Option(min=0, max=LIMITS["seed"].most, help="Draws what a backbone lacks.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was left out or resized as JSON.")] = False,
) -> None:
    """Put a published backbone into a checkpoint whose adapters and decoders are untrained, or import a released model.

    Example: tdss import --weights swin_tiny_patch4_window7_224.pth --config my-model.toml --out runs/start
    """
    from tdss.foreign import import_backbone
    from tdss.released.import_model import import_model

    if system:
        what, read = f"{system} model", import_model(system, weights, config, out)
    elif config is None:
        raise InputError(
            "a backbone needs the model that it becomes a part of",
            expected="--config, or --from for a whole model",
            got="neither",
            where="the command line",
            fix="give the model's config.toml",
        )
    else:
        what, read = "backbone", import_backbone(weights, config, out, seed=seed)
    if as_json:
        print_answer(dumps({"checkpoint": str(out), "left_out": list(read.left), "resized": list(read.resized)}))
    else:
        lists = (("left out", read.left), ("resized", read.resized))
        shown = "; ".join(f"{title}: {', '.join(names) or 'nothing'}" for title, names in lists)
        print_answer(f"{out}: {what} of {weights.name}; {shown}")
