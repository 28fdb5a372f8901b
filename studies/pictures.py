"""A picture of what a bundle's model sees: one image a row, its input and every task, from vectors.npz alone.

    python -m studies.pictures --bundle build/default/intel --out docs/pictures/six-tasks.png

The predictions are the reference's, as the bundle keeps them; below each row lie the labels, unless ``--no-labels``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bundle.base.errors import InputError
from bundle.base.limits import LIMITS
from bundle.formats.manifest import Bundle, Manifest, load_bundle
from bundle.formats.outputs import require_file
from bundle.formats.vectors import EvaluationSample, Vectors
from bundle.judging.ranking import choose, reference_scores
from bundle.tasks.dataset import decode_label
from bundle.tasks.kinds.colours import Rgb
from bundle.tasks.table import task
from compile.stage.command import run_script
from report.drawing.image_encoding import PICTURES, resized, write_png, written

GAP = 6  # white pixels between two tiles
MARGIN = 64  # width of the column that names the rows, where there are labels
HEADING = 24  # height of the line that names the columns


def picture(bundle: Bundle, *, ids: tuple[str, ...], tile: int, labels: bool) -> Rgb:
    """Return the picture as uint8 RGB ``[H, W, 3]``; each tile is ``tile`` pixels wide, rows in the order of ``ids``.

    No ids means the best, the median and the worst image by ``bundle.judging.ranking.choose``.

    Raises:
        InputError: the bundle has no image of one of the ids.
    """
    with Vectors(bundle.vectors) as vectors:
        names = ids or tuple(reversed(choose(vectors.ids, reference_scores(bundle.manifest, vectors))))
        unknown = [name for name in names if name not in vectors.ids]
        if unknown:
            raise InputError(
                f"the bundle has no image {unknown[0]!r}",
                expected=f"ids such as {', '.join(vectors.ids[:3])}",
                got=unknown[0],
                where=str(bundle.vectors),
                fix="name images of its evaluation set",
            )
        found = {stored.id: stored for stored in vectors.images() if stored.id in names}
    rows = [row for name in names for row in _rows(found[name], bundle.manifest, tile, labels)]
    return stacked([_heading(bundle.manifest, tile, labels), *rows], axis=0)


def _rows(stored: EvaluationSample, manifest: Manifest, tile: int, labels: bool) -> list[Rgb]:
    """Draw one image's row of predictions and, if asked for, its row of labels."""
    truth, answers = [], []
    for name in manifest.tasks:
        row, label = task(name), decode_label(name, stored.labels[name], manifest.dataset)
        colours = row.kind.inks(manifest.dataset.palettes.get(name, ()), label)
        truth.append(resized(row.kind.draw(label, colours), tile))
        answers.append(resized(row.kind.draw(stored.shown(name), colours), tile))
    photo = resized(stored.image, tile)
    if not labels:
        return [stacked([photo, *answers], axis=1)]
    height = photo.shape[0]
    first = stacked([written("model", MARGIN, height), photo, *answers], axis=1)
    return [first, stacked([written("label", MARGIN, height), white(height, tile), *truth], axis=1)]


def _heading(manifest: Manifest, tile: int, labels: bool) -> Rgb:
    names = [written(name.replace("_", " "), tile, HEADING) for name in ("input", *manifest.tasks)]
    return stacked([white(HEADING, MARGIN), *names] if labels else names, axis=1)


def white(height: int, width: int) -> Rgb:
    """Return a white picture, uint8 RGB ``[height, width, 3]``."""
    return np.full((height, width, 3), 255, np.uint8)


def stacked(parts: Sequence[Rgb], *, axis: int) -> Rgb:
    """Join pictures along an axis with white gaps between them."""
    shape = list(parts[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, 255, np.uint8)
    spaced = [piece for part in parts for piece in (part, gap)][:-1]
    return np.concatenate(spaced, axis=axis)


def main(
    bundle: Annotated[Path, typer.Option(help="A bundle, build/<model>/<target>.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")],
    ids: Annotated[
        list[str] | None, typer.Option(help="An image id; may be repeated. Default: the best, the median, the worst.")
    ] = None,
    tile: Annotated[
        int, typer.Option(min=1, max=LIMITS["image_side"].most, help="The width of one tile in pixels.")
    ] = 160,
    labels: Annotated[bool, typer.Option(help="Draw the rows of labels.")] = True,
) -> None:
    """Draw a bundle's images and all tasks.

    Example: python -m studies.pictures --bundle build/default/intel --out docs/pictures/tasks.png
    """
    require_file(out, PICTURES, [bundle])
    write_png(picture(load_bundle(bundle), ids=tuple(ids or ()), tile=tile, labels=labels), out)


if __name__ == "__main__":
    run_script(main)
