"""Cut a small labelled folder out of a large one: seeded calibration images and one whole split, with their labels.

    python -m studies.scenes_subset --source ../scenes --spec data/scenes/dataset.json --out data/subset

Files are copied byte for byte, so the same source and seed give the same hashes.
"""

import argparse
import shutil
import sys
from pathlib import Path

from bundle.base.arguments import within
from bundle.base.errors import DatasetError
from bundle.base.terminal import exit_status
from bundle.formats.outputs import nothing, replacing, require_folder
from bundle.tasks.dataset import SPEC_FILE, find_image, load_spec, read_ids
from bundle.tasks.table import TASKS
from calibration.sampling import choose

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


@exit_status()
def main(arguments: list[str]) -> None:
    """Run ``cut`` from the command line."""
    parser = argparse.ArgumentParser(prog="python -m studies.scenes_subset", description="Cut a small labelled folder.")
    parser.add_argument("--source", type=Path, required=True, help="a labelled folder with train.txt and val.txt")
    parser.add_argument("--spec", type=Path, required=True, help="the dataset.json of the source")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--count", type=within(1, "count"), default=CALIBRATION_COUNT, help="calibration images")
    parser.add_argument("--seed", type=within(0, "seed"), default=SEED, help="of the draw")
    options = parser.parse_args(arguments)
    cut(options.source, options.spec, options.out, count=options.count, seed=options.seed)


if __name__ == "__main__":
    main(sys.argv[1:])
