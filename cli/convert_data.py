"""``tdss data convert``: a data set in the layout in which it was published becomes a labelled folder."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from bundle.base.errors import InputError
from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.tasks.spec import OVERSHOOTS, Overshoot
from compile.stage.console import EscapingConsole
from compile.stage.options import Out, completing
from labelled_folder.convert import Terms, convert
from labelled_folder.published.layout import Layout
from labelled_folder.published.table import LAYOUTS

_SIDE = LIMITS["image_side"].most


def main(
    source: Annotated[Path, typer.Argument(help="The folder into which the data set was unpacked.")],
    layout: Annotated[
        str, typer.Option("--from", help=f"Its layout: {', '.join(LAYOUTS)}.", autocompletion=completing(*LAYOUTS))
    ],
    out: Out,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(
            min=1,
            max=_SIDE,
            metavar="H W",
            help="Rows and columns of all images. Default: each image's own, and --resize is the folder's size policy.",
        ),
    ] = None,
    resize: Annotated[
        Overshoot,
        typer.Option(help="Cubic values over 255: clipped, or as-published: the lowest byte, as released code has it."),
    ] = OVERSHOOTS[1],
    calibration: Annotated[
        int, typer.Option(min=1, max=LIMITS["count"].most, help="How many images of train calibrate.")
    ] = 64,
    train: Annotated[bool, typer.Option("--train", help="Write all of train too, for a training.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the folder and its splits as JSON.")] = False,
) -> None:
    """Write a published data set as a labelled folder: images, labels, splits and dataset.json.

    Example: tdss data convert PASCAL_MT --from pascal-context --out pascal --size 448 448 --resize as-published
    """
    terms = Terms(size=size, overshoot=resize, calibration=calibration, train=train)
    splits = convert(_layout(layout), source, out, terms, _progress)
    if as_json:
        print_answer(dumps({"folder": str(out), "splits": dict(splits)}))
    else:
        print_answer(f"{out}: " + ", ".join(f"{count} images in {split}" for split, count in splits.items()))


def _layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise InputError(
            f"there is no reader for the layout {name!r}",
            expected=f"one of {', '.join(LAYOUTS)}",
            got=name,
            where="--from",
            fix="name one of them, or write the labelled folder yourself (docs/guides/your-data.md)",
        )
    return LAYOUTS[name]


def _progress(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    return track(list(pairs), description="images", console=EscapingConsole(stderr=True))
