"""The newest-frame policy, step by step: the source decides when a frame comes, the test when one is taken."""

from collections.abc import Iterator
from queue import Queue
from threading import Event

import numpy as np
import pytest

from bundle.base.errors import InputError
from predict.frame import Frame
from predict.newest import newest


def frame(number: int) -> Frame:
    """A frame called by a number."""
    return Frame(str(number), "here", np.zeros((1, 1, 3), np.uint8), 0.0, 0.0, 0.0)


class Camera:
    """Gives the frames that a test puts in; ``asked`` counts how often the next one was asked for."""

    def __init__(self) -> None:
        self.queue: Queue[Frame | BaseException | None] = Queue()
        self.asked: Queue[int] = Queue()

    def frames(self) -> Iterator[Frame]:
        """Yield what is put in; None ends it, an error is raised."""
        count = 0
        while True:
            self.asked.put(count)
            count += 1
            one = self.queue.get()
            if one is None:
                return
            if isinstance(one, BaseException):
                raise one
            yield one

    def show(self, *numbers: int) -> None:
        """Put frames in and wait until all of them were read."""
        for number in numbers:
            self.queue.put(frame(number))
        for _ in numbers:
            self.asked.get(timeout=60)


def test_a_slow_reader_gets_the_newest_frame_and_no_frame_twice() -> None:
    camera = Camera()
    with newest(camera.frames()) as latest:
        camera.queue.put(frame(1))
        assert next(latest).name == "1"
        camera.asked.get(timeout=60)
        camera.asked.get(timeout=60)
        camera.show(2, 3, 4)
        assert next(latest).name == "4"
        camera.show(5)
        assert next(latest).name == "5"
        camera.queue.put(None)
        assert next(latest, None) is None


def test_the_last_frame_comes_before_the_error() -> None:
    camera = Camera()
    wrong = InputError("the stream broke", expected="a", got="b", where="c", fix="d")
    camera.queue.put(frame(1))
    camera.queue.put(wrong)
    seen: list[str] = []
    with newest(camera.frames()) as latest, pytest.raises(InputError, match="the stream broke"):
        seen.extend(one.name for one in latest)
    assert seen == ["1"]


def test_nothing_is_read_before_the_first_frame_is_asked_for_nor_after_the_block() -> None:
    camera, read = Camera(), Event()

    def frames() -> Iterator[Frame]:
        read.set()
        yield from camera.frames()

    with newest(frames()) as latest:
        assert not read.is_set()
        camera.queue.put(frame(1))
        next(latest)
        assert read.is_set()
        camera.queue.put(frame(2))
        camera.queue.put(frame(3))
    assert camera.queue.qsize() <= 2
