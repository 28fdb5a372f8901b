"""The rows of the zoo: each is a folder of models/zoo, with the training file of a system and the checkpoint that it gave."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bundle.base.errors import ConfigError, InputError
from tdss.training.config import TrainConfig, read

ZOO = Path("models/zoo")
TRAINING = "training.toml"
BASELINE = "heads"  # the same heads without adapters: what Δm is measured against


class Row(NamedTuple):
    """A system of the zoo. ``folder`` holds its training file and, once it was trained, its checkpoint."""

    folder: Path
    config: TrainConfig

    @property
    def name(self) -> str:
        """The name of the row, its run, its model and its bundles."""
        return self.config.name

    @property
    def training(self) -> Path:
        """The training file."""
        return self.folder / TRAINING


def read_rows(zoo: Path, only: Sequence[str] = ()) -> tuple[Row, ...]:
    """Read the rows in a folder, the baseline first; those named in ``only``, all where none is named.

    Raises:
        InputError: there is no baseline among them, or no row of a name.
        ConfigError: a training file is wrong, or its run, its model and its folder have different names.
    """
    rows = sorted((_read(path) for path in zoo.glob(f"*/{TRAINING}")), key=lambda row: (row.name != BASELINE, row.name))
    names = [row.name for row in rows]
    for name in (BASELINE, *only):
        if name not in names:
            raise InputError(
                f"the zoo has no row {name!r}",
                expected=f"one of {', '.join(names)}" if names else f"folders with {TRAINING}",
                got=name,
                where=str(zoo),
                fix="correct the name or the folder",
            )
    return tuple(row for row in rows if not only or row.name in only)


def _read(path: Path) -> Row:
    config = read(path)
    names = {path.parent.name, config.name, config.model.name}
    if len(names) > 1:
        raise ConfigError(
            "a row of the zoo has several names",
            expected="one name for the folder, the run and the model",
            got=", ".join(sorted(names)),
            where=str(path),
            fix="give name and model.name the folder's name",
        )
    return Row(path.parent, config)
