"""The newest frame of a live source: a thread decodes all of them, and one that is not taken before the next is dropped."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Thread

from predict.frame import Frame

POLL_S = 0.2  # how often a wait looks whether it was interrupted
JOIN_S = 12.0  # a read of the source ends within its timeout


class _Slot:
    """The newest frame, whether the source has ended, and the error that ended it."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self.changed = Condition()
        self.frame: Frame | None = None
        self.error: BaseException | None = None
        self.ended = False
        self.left = False  # the reader of the frames went away
        self.thread = Thread(target=self.fill, args=(frames,), daemon=True)

    def fill(self, frames: Iterator[Frame]) -> None:
        """Decode until the source ends or its reader goes away."""
        error: BaseException | None = None
        try:
            for frame in frames:
                with self.changed:
                    self.frame = frame
                    self.changed.notify()
                    if self.left:
                        return
        except BaseException as raised:  # noqa: BLE001 - whoever takes the frames raises it
            error = raised
        with self.changed:
            self.ended, self.error = True, error
            self.changed.notify()

    def taken(self) -> Iterator[Frame]:
        """Yield the newest frame each time; an error comes after the frames before it. Decoding begins with the first."""
        self.thread.start()
        while True:
            with self.changed:
                while self.frame is None and not self.ended:
                    self.changed.wait(POLL_S)
                frame, self.frame = self.frame, None
            if frame is None:
                break
            yield frame
        if self.error is not None:
            raise self.error


@contextmanager
def newest(frames: Iterator[Frame]) -> Iterator[Iterator[Frame]]:
    """Yield what gives the newest of ``frames`` each time that it is asked; a frame is given once.

    Raises what ``frames`` raises, after the last frame.
    """
    slot = _Slot(frames)
    try:
        yield slot.taken()
    finally:
        with slot.changed:
            slot.left = True
        if slot.thread.is_alive():
            slot.thread.join(JOIN_S)
