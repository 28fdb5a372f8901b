"""The model and the data of this checkout: the defaults of every command, whatever the working directory is."""

from pathlib import Path

from bundle.base.errors import InputError
from bundle.base.isolated import ROOT

MODEL, DATA = "models/default", "data/scenes"


def shipped_model() -> Path:
    """Return the folder of the shipped checkpoint.

    Raises:
        InputError: the packages are installed without a checkout.
    """
    return _folder(MODEL, "a checkpoint with --checkpoint")


def shipped_data() -> Path:
    """Return the labelled folder that comes with the shipped checkpoint.

    Raises:
        InputError: the packages are installed without a checkout.
    """
    return _folder(DATA, "a labelled folder with --data or --images")


def _folder(name: str, instead: str) -> Path:
    if not (ROOT / name).is_dir():
        raise InputError(
            f"{name} is not part of this installation",
            expected=f"a checkout of the project, which has {name}",
            got="an installed package",
            where=str(ROOT),
            fix=f"give {instead}",
        )
    return ROOT / name
