"""A zoo of two rows that nothing was trained for."""

from pathlib import Path

import pytest

from studies.zoo.jobs import Terms
from tests.tdss.training.tiny import settings, write_config

NAMES = ("added", "heads")


def write_row(zoo: Path, name: str, **changes: object) -> Path:
    """Write the training file of a row, and return its folder."""
    folder = zoo / name
    folder.mkdir(parents=True)
    write_config(folder / "training.toml", {**settings(zoo, zoo / "runs", name), **changes})
    return folder


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A folder with the baseline and another row."""
    for name in NAMES:
        write_row(tmp_path / "zoo", name)
    return tmp_path / "zoo"


@pytest.fixture
def terms(tmp_path: Path) -> Terms:
    """A folder for data with one file, and one for what commands write."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "val.txt").write_text("1\n")
    return Terms(tmp_path / "data", 5, tmp_path / "out")
