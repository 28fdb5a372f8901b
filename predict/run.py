"""Frame by frame through a session: one is inferred while the one before is drawn and the next is decoded and prepared.

A session runs one frame at a time, in an asynchronous request of its runtime or in a thread (``Session.start``).
No more than two frames are held.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from time import perf_counter
from typing import TypeAlias

from bundle.formats.io_forms import prediction
from bundle.formats.manifest import Manifest
from bundle.judging.frames import feed
from bundle.tasks.fit import restore
from bundle.tasks.spec import Array
from predict.frame import Clock, Frame, since_ms
from predict.outputs import Outputs
from targets.base import Ran, Wait

Start: TypeAlias = Callable[[dict[str, Array]], Wait]
Report: TypeAlias = Callable[[Frame, list[str]], None]


def run(
    manifest: Manifest,
    start: Start,
    frames: Iterator[Frame],
    outputs: Outputs,
    report: Report,
    clock: Clock,
    *,
    ahead: bool,
) -> None:
    """Predict each frame and write what ``outputs`` is to write; ``report`` gets each frame and its complete files.

    ``start`` is ``Session.start``.
    ``ahead``: a frame is drawn while the next is inferred. Without it a frame is finished before the next is taken.

    Raises:
        DatasetError: a frame has another size than the model and the data has no size policy.
        RegressionFailed: an output holds NaN or infinity.
        SessionFailed: the runtime raised an error of its own.
    """
    steps = _Steps(manifest, start, outputs, report, clock)
    try:
        for frame in frames:
            steps.begin(frame)
            if not ahead:
                steps.end()
    finally:  # a frame that cannot be read does not take the one before it along
        steps.end()


class _Steps:
    """The steps of each frame. After an error of the session, or of what is drawn or written, no further frame is finished."""

    def __init__(self, manifest: Manifest, start: Start, outputs: Outputs, report: Report, clock: Clock) -> None:
        self._manifest, self._start, self._clock = manifest, start, clock
        self._outputs, self._report = outputs, report
        self._running: tuple[Frame, Wait] | None = None

    def begin(self, frame: Frame) -> None:
        """Begin to infer a frame, as soon as the one before is inferred, and finish that one."""
        begun = perf_counter()
        fed = feed(self._manifest, frame.image, name=frame.where)
        prepared_ms = since_ms(begun)
        before = self._ended()
        begun = perf_counter()
        started = (frame, self._start(fed))
        self._clock.add("pre", prepared_ms + since_ms(begun))
        if before:
            self._finish(*before)
        self._running = started

    def end(self) -> None:
        """Finish the frame that is being inferred, if one is."""
        last = self._ended()
        if last:
            self._finish(*last)

    def _ended(self) -> tuple[Frame, Ran] | None:
        """Wait for the frame that is being inferred."""
        running, self._running = self._running, None
        return running and (running[0], running[1]())

    def _finish(self, frame: Frame, ran: Ran) -> None:
        self._clock.add("infer", ran.ms)
        with self._clock.step("post"):
            maps = maps_of(self._manifest, frame, ran, self._outputs.tasks)
        with self._clock.step("draw"):
            pictures = self._outputs.draw(frame, maps)
        with self._clock.step("write"):
            files = self._outputs.write(frame, maps, pictures)
        self._clock.done(frame)
        self._report(frame, files)


def maps_of(manifest: Manifest, frame: Frame, ran: Ran, tasks: tuple[str, ...]) -> dict[str, Array]:
    """Return the tasks' maps at the size of the frame's image."""
    own, policy = (frame.image.shape[0], frame.image.shape[1]), manifest.dataset.size_policy
    return {
        name: restore(
            manifest.row(name), prediction(manifest.io, manifest.row(name), ran.outputs[name][0]), own, policy
        )
        for name in tasks
    }


def chosen(frames: Iterator[Frame], every: int, limit: int) -> Iterator[Frame]:
    """Yield every Nth frame, no more than ``limit`` (0: all)."""
    return islice(frames, 0, (limit - 1) * every + 1 if limit else None, every)
