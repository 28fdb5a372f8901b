"""``tdss predict``: what a bundle sees in images or a video; ``tdss-runtime.pyz predict`` is the same on a device."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.tasks.spec import SizePolicy
from cli.option_table import asked
from predict.command import predict
from predict.options import PREDICTING, Asked, Policy
from targets.base import Execute


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>, or its archive NAME.zip.")],
    source: Annotated[
        str, typer.Argument(help="An image, a folder, a pattern in quotes, a video, a URL, a device, or - for a pipe.")
    ],
    out: Annotated[Path, typer.Option(help="A folder that is new or empty.")],
    tasks: Annotated[str, asked(PREDICTING, "tasks")] = "",
    write: Annotated[str, asked(PREDICTING, "write")] = "maps,overlays,sheets",
    alpha: Annotated[float, asked(PREDICTING, "alpha")] = 0.5,
    every: Annotated[int, asked(PREDICTING, "every")] = 1,
    limit: Annotated[int, asked(PREDICTING, "limit")] = 0,
    frames: Annotated[Policy, asked(PREDICTING, "frames")] = "auto",
    fit: Annotated[SizePolicy | None, asked(PREDICTING, "fit")] = None,
    form: Annotated[str, typer.Option("--format", help=f"{PREDICTING['format'].help}.")] = "",
    codec: Annotated[str, asked(PREDICTING, "codec")] = "mpeg4",
    execute: Annotated[Execute, asked(PREDICTING, "execute")] = "auto",
    variant: Annotated[str, asked(PREDICTING, "variant")] = "",
    device: Annotated[str, asked(PREDICTING, "device")] = "",
    threads: Annotated[int, asked(PREDICTING, "threads")] = 0,
    key: Annotated[Path | None, asked(PREDICTING, "key")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON a frame, and a last one.")] = False,
) -> None:
    """Run a bundle on images or a video, and write what each task sees: colours, overlays, sheets, arrays.

    Maps have the size of the source's image. At the end it says how long each step took. A video needs PyAV.

    Example: tdss predict build/default/intel street.mp4 --out seen --tasks semseg,depth
    """
    predict(
        Asked(
            bundle=bundle,
            source=source,
            out=out,
            tasks=tasks,
            write=write,
            alpha=alpha,
            every=every,
            limit=limit,
            frames=frames,
            fit=fit or "",
            format=form,
            codec=codec,
            as_json=as_json,
            execute=execute,
            variant=variant,
            device=device,
            threads=threads,
            key=key,
        )
    )
