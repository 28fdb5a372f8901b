"""The options that several commands share: each has one name, one help text and one default."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias, get_args

import typer

from bundle.base.limits import LIMITS
from compile.stage.config import FoldMode
from compile.stage.shipped import DATA, MODEL, shipped_data
from targets.target_profile import read_profiles

SHIPPED_MODEL, SHIPPED_DATA = (f"{name} of this checkout" for name in (MODEL, DATA))
TARGETS = tuple(read_profiles())
_COUNT, _THREADS = LIMITS["count"].most, LIMITS["threads"].most


def completing(*words: str) -> Callable[[str], list[str]]:
    """Return what a shell asks to complete an option's value, which is one of the words."""

    def answer(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return answer


TARGET = typer.Option(help=f"The target to compile for: {', '.join(TARGETS)}.", autocompletion=completing(*TARGETS))
FOLD_MODE = typer.Option(
    "--fold",
    help="cost, the default: every elimination that pays. none: nothing.",
    autocompletion=completing(*get_args(FoldMode)),
)
MACHINE = typer.Option(help="A lock file: of the builds that name it, one measures at a time. Default: none.")
WORKERS = typer.Option(
    min=0, max=_THREADS, help="Search and judge on this many processes of this machine. Default: in this one."
)
BUDGETS = typer.Option(
    help="default (1 %), strict (0.1 %), or depth=0.01,...: drops.", autocompletion=completing("default", "strict")
)
NETWORK = typer.Option(help="A network of another origin: an .onnx or .pt2 file, described by --tasks tasks.toml.")
SIZE = typer.Option(
    min=1,
    max=LIMITS["image_side"].most,
    metavar="HEIGHT WIDTH",
    help="The image's size: of a network that leaves it open, or of a checkpoint instead of its own.",
)
TargetName: TypeAlias = Annotated[str, TARGET]
Data: TypeAlias = Annotated[
    Path, typer.Option(help="A labelled folder.", default_factory=shipped_data, show_default=SHIPPED_DATA)
]
Images: TypeAlias = Annotated[
    Path,
    typer.Option(
        help="A labelled folder, or a folder of images of the model's size.",
        default_factory=shipped_data,
        show_default=SHIPPED_DATA,
    ),
]
CalibrationImages: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--images",
        "--calibration",
        help="The images to calibrate on: a labelled folder, or a folder of images of the model's size.",
        default_factory=shipped_data,
        show_default=SHIPPED_DATA,
    ),
]
Split: TypeAlias = Annotated[str, typer.Option(help="The split of a labelled folder.")]
CheckCount: TypeAlias = Annotated[int, typer.Option(min=1, max=_COUNT, help="How many images the check uses.")]
Out: TypeAlias = Annotated[Path, typer.Option(help="The folder to write; relative to the working directory.")]
Device: TypeAlias = Annotated[str, typer.Option(help="The runtime's device; empty: the target's choice.")]
Threads: TypeAlias = Annotated[int, typer.Option(min=0, max=_THREADS, help="CPU threads; 0: the runtime's choice.")]
RecordAsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the artifact's record as JSON.")]
