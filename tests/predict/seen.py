"""What the made model (tests/bundle/made.py) sees in an image of its own size, and the files that say it."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from bundle.tasks.kinds.colours import Rgb
from bundle.tasks.postprocess import predict
from bundle.tasks.spec import Array
from bundle.tasks.table import task
from tests.bundle.made import PALETTES, PREPROCESS, TASKS, model

NAMES = list(TASKS)


def maps_of(image: Array) -> dict[str, Array]:
    """Each task's map by the arithmetic of the made model, without a session."""
    return {name: predict(task(name), raw[0]) for name, raw in model(PREPROCESS.apply(image)).items()}


def colours_of(image: Array) -> dict[str, Rgb]:
    """Each task's map in colours."""
    kinds = {name: task(name).kind for name in TASKS}
    maps = maps_of(image)
    return {name: kind.draw(maps[name], kind.inks(PALETTES.get(name, ()), maps[name])) for name, kind in kinds.items()}


def read(path: Path) -> Array:
    """The pixels of an image file."""
    with Image.open(path) as picture:
        return np.asarray(picture)


def files_below(folder: Path) -> list[str]:
    """Every file of a folder, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def lines_of(text: str) -> tuple[list[dict[str, object]], dict[str, object]]:
    """What ``--json`` printed: the lines of the frames, and the last one."""
    *frames, last = [json.loads(line) for line in text.splitlines()]
    return frames, last
