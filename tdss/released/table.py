"""The table of readers: each system whose released models can be imported, by the name that ``tdss import --from`` takes."""

from importlib import import_module

from bundle.base.errors import InputError
from tdss.released.base import Reader

READERS = {"faar": "tdss.released.faar", "mtlora": "tdss.released.mtlora", "tadformer": "tdss.released.tadformer"}


def reader(system: str) -> Reader:
    """Return the reader of a system, imported now.

    Raises:
        InputError: no system has this name.
    """
    if system not in READERS:
        raise InputError(
            "no reader has this name",
            expected=f"one of {', '.join(READERS)}",
            got=system,
            where="--from",
            fix="give the system whose released code saved the file; without --from a backbone is read",
        )
    found: Reader = import_module(READERS[system]).READER
    return found
