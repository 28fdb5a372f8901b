"""One measurement at a time has the machine to itself, while several builds share it.

Every build works with a shared lock on a file, and measures with the exclusive one. A build that waits to measure holds the
turn, so the others end the stage they are in and begin no other. Without a file there is nothing to wait for.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class Machine:
    """The lock that the builds of one machine share; ``path`` None: this build is the only one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._files: tuple[IO[str], IO[str]] | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Work beside other builds; wait while one measures, or is about to."""
        if self._path is None:
            yield
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        turn, room = (self._path.with_name(f"{self._path.name}.{name}") for name in ("turn", "room"))
        with turn.open("w") as first, room.open("w") as second:
            self._files = first, second
            self._take(fcntl.LOCK_SH)
            try:
                yield
            finally:
                self._files = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Measure with no other build at work; the caller is ``working``, and is again afterwards."""
        self._take(fcntl.LOCK_EX)
        try:
            yield
        finally:
            self._take(fcntl.LOCK_SH)

    def _take(self, mode: int) -> None:
        """Wait for the turn without a lock, then for the room."""
        if self._files is None:
            return
        turn, room = self._files
        fcntl.flock(room, fcntl.LOCK_UN)
        fcntl.flock(turn, fcntl.LOCK_EX)
        fcntl.flock(room, mode)
        fcntl.flock(turn, fcntl.LOCK_UN)
