"""``tdss import``: a published backbone into a checkpoint folder that training can start from."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer


def main(
    weights: Annotated[
        Path, typer.Option(help="A published Swin or DINOv2: .pth or .safetensors; official, timm or HF keys.")
    ],
    config: Annotated[Path, typer.Option(help=r"The model's config.toml; its \[backbone] is the published one's.")],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to write.")],
    seed: Annotated[int, typer.Option(min=0, max=LIMITS["seed"].most, help="Draws the new adapters and decoders.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was left out as JSON.")] = False,
) -> None:
    """Put a published Swin or DINOv2 backbone into a checkpoint whose adapters and decoders are untrained.

    Example: tdss import --weights swin_tiny_patch4_window7_224.pth --config my-model.toml --out runs/start
    """
    from tdss.foreign import import_backbone

    left = import_backbone(weights, config, out, seed=seed)
    if as_json:
        print_answer(dumps({"checkpoint": str(out), "left_out": list(left)}))
    else:
        print_answer(f"{out}: backbone of {weights.name}; left out: {', '.join(left) or 'nothing'}")
