"""One command at a time writes into a folder: the lock ends with the process, however that ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bundle.base.errors import InputError
from bundle.formats.outputs import require_container

LOCK = ".lock"


@contextmanager
def alone(folder: Path, command: str) -> Iterator[None]:
    """Hold a folder's lock for a command, which the message names; the folder is made if there is none.

    Raises:
        InputError: it cannot be written, or another run of a command holds it.
    """
    require_container(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another {command} is writing here",
                expected="one at a time",
                got="two",
                where=str(folder),
                fix="wait until it ends, or give this one another out",
            ) from error
        yield
