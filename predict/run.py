"""Frame by frame through a session: one is inferred while the next is decoded and prepared and the one before is drawn.

The session's call runs in a thread of its own, so each runtime's plain call is asynchronous here, without a second way to call it.
No more than two frames are held.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeAlias

from bundle.formats.io_forms import prediction
from bundle.formats.manifest import Manifest
from bundle.judging.frames import feed
from bundle.tasks.fit import restore
from bundle.tasks.spec import Array
from predict.frame import Clock, Frame
from predict.outputs import Outputs

Answer: TypeAlias = Mapping[str, Array]
Infer: TypeAlias = Callable[[dict[str, Array]], Answer]
Report: TypeAlias = Callable[[Frame, list[str]], None]


def run(
    manifest: Manifest,
    infer: Infer,
    frames: Iterator[Frame],
    outputs: Outputs,
    report: Report,
    clock: Clock,
    *,
    ahead: bool,
) -> None:
    """Predict each frame and write what ``outputs`` is to write; ``report`` gets each frame and its complete files.

    ``ahead``: a frame is drawn while the next is inferred. Without it a frame is finished before the next is taken.

    Raises:
        DatasetError: a frame has another size than the model and the data has no size policy.
        RegressionFailed: an output holds NaN or infinity.
        SessionFailed: the runtime raised an error of its own.
    """

    def timed(fed: dict[str, Array]) -> Answer:
        with clock.step("infer"):
            return infer(fed)

    def finish(frame: Frame, answer: "Future[Answer]") -> None:
        outcome = answer.result()
        with clock.step("post"):
            maps = maps_of(manifest, frame, outcome, outputs.tasks)
        with clock.step("draw"):
            pictures = outputs.draw(frame, maps)
        with clock.step("write"):
            files = outputs.write(frame, maps, pictures)
        clock.done(frame)
        report(frame, files)

    with ThreadPoolExecutor(1) as worker:
        waiting: tuple[Frame, Future[Answer]] | None = None
        try:
            for frame in frames:
                with clock.step("pre"):
                    fed = feed(manifest, frame.image, name=frame.where)
                before, waiting = waiting, (frame, worker.submit(timed, fed))
                if before is not None:
                    finish(*before)
                if not ahead:
                    before, waiting = waiting, None
                    finish(*before)
        finally:  # a frame that cannot be read does not take the one before it along
            if waiting is not None:
                finish(*waiting)


def maps_of(manifest: Manifest, frame: Frame, answer: Answer, tasks: tuple[str, ...]) -> dict[str, Array]:
    """Return the tasks' maps at the size of the frame's image."""
    own, policy = (frame.image.shape[0], frame.image.shape[1]), manifest.dataset.size_policy
    return {
        name: restore(manifest.row(name), prediction(manifest.io, manifest.row(name), answer[name][0]), own, policy)
        for name in tasks
    }


def chosen(frames: Iterator[Frame], every: int, limit: int) -> Iterator[Frame]:
    """Yield every Nth frame, no more than ``limit`` (0: all)."""
    return islice(frames, 0, (limit - 1) * every + 1 if limit else None, every)
