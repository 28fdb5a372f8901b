"""One image of a source, and the clock of the steps that it goes through."""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

import numpy as np

from bundle.tasks.dataset import Image

STEPS = ("decode", "pre", "infer", "post", "draw", "write", "whole")
"""``whole`` is from the decoded frame to its written files: pre to write, and the waiting between them."""
KEPT = 10_000  # the latest times of each step: what is kept does not grow


class Frame(NamedTuple):
    """An image, uint8 ``[H, W, 3]`` RGB. ``name`` names its files, ``time_s`` is since the first frame of a video.

    ``where`` is what an error calls it.
    ``decode_ms`` is how long it took to read, ``ready`` is ``perf_counter`` when that was done.
    """

    name: str
    where: str
    image: Image
    time_s: float
    decode_ms: float
    ready: float


class Spread(NamedTuple):
    """Times of one step in milliseconds."""

    median: float
    p95: float


class Clock:
    """The times of each step, in milliseconds; of the latest ``KEPT`` frames."""

    def __init__(self) -> None:
        self._times: Mapping[str, deque[float]] = {name: deque(maxlen=KEPT) for name in STEPS}
        self._start = perf_counter()
        self.frames = 0

    def add(self, step: str, milliseconds: float) -> None:
        """Record one time of a step."""
        self._times[step].append(milliseconds)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Record how long the block takes."""
        start = perf_counter()
        yield
        self.add(name, since_ms(start))

    def done(self, frame: Frame) -> None:
        """Count a frame whose files are written."""
        self.add("whole", since_ms(frame.ready))
        self.frames += 1

    def seconds(self) -> float:
        """Return the time since this clock was made."""
        return perf_counter() - self._start

    def spreads(self) -> dict[str, Spread]:
        """Return the median and the 95th percentile of each step that was timed."""
        known = {name: times for name, times in self._times.items() if times}
        return {name: Spread(*map(float, np.percentile(times, (50, 95)))) for name, times in known.items()}


def since_ms(start: float) -> float:
    """Return the milliseconds since a ``perf_counter``."""
    return (perf_counter() - start) * 1e3
