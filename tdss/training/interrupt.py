"""Ctrl-C in the middle of a training step: the step is finished and its state saved before the run ends."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType


@contextmanager
def held_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold back the first interrupt; the value says whether it came. A second one raises ``KeyboardInterrupt`` at once.

    Python handles signals in the main thread only: in another one nothing is held back.
    """
    if current_thread() is not main_thread():
        yield lambda: False
        return
    came = False
    before = signal.getsignal(signal.SIGINT)

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, hold)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, before)
