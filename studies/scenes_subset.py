"""Cut a small labelled folder out of a large one: seeded calibration images and one whole split, with their labels.

    python -m studies.scenes_subset --source ../scenes --spec data/scenes/dataset.json --out data/subset

Files are copied byte for byte, so the same source and seed give the same hashes.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from bundle.base.errors import DatasetError
from bundle.base.limits import LIMITS
from bundle.formats.outputs import nothing, replacing, require_folder
from bundle.tasks.dataset import SPEC_FILE, find_image, load_spec, read_ids
from bundle.tasks.table import TASKS
from calibration.sampling import choose
from compile.stage.command import run_script

CALIBRATION_COUNT = 64
SEED = 0


def cut(source: Path, spec: Path, out: Path, *, count: int, seed: int) -> None:
    """Write ``out``: the spec, ``calibration.txt`` (images of ``train`` only) and ``val.txt``, both with every label.

    Raises:
        InputError: something is at ``out`` already.
        DatasetError: the spec, a split, an image or a label of the source is missing.
    """
    require_folder(out, nothing, [source, spec])
    load_spec(spec)
    calibration = choose(read_ids(source / "train.txt"), count, seed=seed)
    evaluation = read_ids(source / "val.txt")
    with replacing(out, nothing) as folder:
        for name in ("image", *(row.name for row in TASKS)):
            (folder / name).mkdir()
        for identifier in (*calibration, *evaluation):
            _copy(find_image(source, identifier), folder / "image")
            for row in TASKS:
                _copy(source / row.name / f"{identifier}.png", folder / row.name)
        _write_ids(folder / "calibration.txt", calibration)
        _write_ids(folder / "val.txt", evaluation)
        shutil.copyfile(spec, folder / SPEC_FILE)


def _copy(path: Path, folder: Path) -> None:
    if not path.is_file():
        raise DatasetError(
            "a file of the source is missing",
            expected=path.name,
            got="no such file",
            where=str(path),
            fix="add it, or take its id out of the split",
        )
    shutil.copyfile(path, folder / path.name)


def _write_ids(path: Path, ids: tuple[str, ...]) -> None:
    path.write_text("".join(f"{identifier}\n" for identifier in ids), encoding="utf-8")


def main(
    source: Annotated[Path, typer.Option(help="A labelled folder with train.txt and val.txt.")],
    spec: Annotated[Path, typer.Option(help="The dataset.json of the source.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    count: Annotated[
        int, typer.Option(min=1, max=LIMITS["count"].most, help="Calibration images.")
    ] = CALIBRATION_COUNT,
    seed: Annotated[int, typer.Option(min=0, max=LIMITS["seed"].most, help="Of the draw.")] = SEED,
) -> None:
    """Cut a small labelled folder out of a large one.

    Example: python -m studies.scenes_subset --source ../scenes --spec data/scenes/dataset.json --out data/subset
    """
    cut(source, spec, out, count=count, seed=seed)


if __name__ == "__main__":
    run_script(main)
