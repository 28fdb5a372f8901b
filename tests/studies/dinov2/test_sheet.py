"""The sheet of several models' maps: which picture stands where, read back by colour."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.base.errors import ProjectError
from studies.dinov2.sheet import sheet
from studies.pictures import GAP, HEADING, MARGIN

TILE = 20
PHOTO, FIRST, SECOND = (10, 20, 30), (200, 0, 0), (0, 200, 0)


def write(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 80), colour).save(path)


@pytest.fixture
def seen(tmp_path: Path) -> list[Path]:
    """Two models' maps of one photograph, twice as high as wide, for two tasks."""
    write(tmp_path / "photos" / "cat.png", PHOTO)
    for model, colour in (("small", FIRST), ("large", SECOND)):
        for task in ("depth", "edge"):
            write(tmp_path / model / "maps" / task / "cat.png", colour)
    return [tmp_path / "small", tmp_path / "large"]


def test_each_model_has_a_row_and_the_photograph_stands_once(tmp_path: Path, seen: list[Path]) -> None:
    drawn = sheet(tmp_path / "photos", seen, TILE)
    rows = [HEADING + GAP + TILE, HEADING + GAP + 2 * TILE + GAP + TILE]
    columns = [MARGIN + GAP + TILE // 2 + number * (TILE + GAP) for number in range(3)]
    found = [[tuple(int(level) for level in drawn[row, column]) for column in columns] for row in rows]
    assert found == [[PHOTO, FIRST, FIRST], [(255, 255, 255), SECOND, SECOND]]
    assert drawn.dtype == np.uint8


def test_a_model_without_a_map_of_an_image_is_refused(tmp_path: Path, seen: list[Path]) -> None:
    (seen[1] / "maps" / "edge" / "cat.png").unlink()
    with pytest.raises(ProjectError) as caught:
        sheet(tmp_path / "photos", seen, TILE)
    assert "cat.png" in caught.value.where
