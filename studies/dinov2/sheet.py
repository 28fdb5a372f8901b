"""Several models' maps of the same images under each other, from what ``tdss predict`` wrote.

tdss predict build/default/intel photos --out seen/default --write maps
tdss predict build/dinov2-s/intel photos --out seen/dinov2-s --write maps
python -m studies.dinov2.sheet photos seen/default seen/dinov2-s --out docs/pictures/dinov2.png
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bundle.base.limits import LIMITS
from bundle.formats.outputs import require_file
from bundle.tasks.dataset import read_image
from bundle.tasks.kinds.colours import Rgb
from bundle.tasks.table import TASKS
from compile.stage.command import run_script
from report.drawing.image_encoding import PICTURES, resized, write_png, written
from studies.pictures import HEADING, MARGIN, stacked, white


def sheet(photos: Path, seen: Sequence[Path], tile: int) -> Rgb:
    """Return one row for each image and model, uint8 RGB ``[H, W, 3]``: the image, then the model's map of every task.

    Raises:
        DatasetError: a model has no map of an image.
    """
    names = [row.name for row in TASKS if (seen[0] / "maps" / row.name).is_dir()]
    heading = [white(HEADING, MARGIN), *(written(name.replace("_", " "), tile, HEADING) for name in ("input", *names))]
    rows = [stacked(heading, axis=1)]
    for path in sorted(photos.iterdir()):
        photo = resized(read_image(path), tile)
        for index, model in enumerate(seen):
            maps = [resized(read_image(model / "maps" / name / f"{path.stem}.png"), tile) for name in names]
            height = photo.shape[0]
            first = photo if index == 0 else white(height, tile)
            rows.append(stacked([written(model.name, MARGIN, height), first, *maps], axis=1))
    return stacked(rows, axis=0)


def main(
    photos: Annotated[Path, typer.Argument(help="The folder of images that the models saw.")],
    seen: Annotated[
        list[Path], typer.Argument(help="What tdss predict wrote for each model; the folder's name is shown.")
    ],
    out: Annotated[Path, typer.Option(help="The PNG to write.")],
    tile: Annotated[
        int, typer.Option(min=1, max=LIMITS["image_side"].most, help="The width of one tile in pixels.")
    ] = 112,
) -> None:
    """Draw several models' maps of the same images under each other.

    Example: python -m studies.dinov2.sheet photos seen/default seen/dinov2-s --out docs/pictures/dinov2.png
    """
    require_file(out, PICTURES, [photos, *seen])
    write_png(sheet(photos, seen, tile), out)


if __name__ == "__main__":
    run_script(main)
