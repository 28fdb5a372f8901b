"""Frames through a session: in order, two at most at a time, and without memory that grows."""

import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from bundle.base.errors import SessionFailed
from bundle.formats.manifest import Manifest
from predict.frame import KEPT, Clock, Frame
from predict.outputs import Outputs, Wanted
from predict.run import chosen, run
from targets.base import Array, Capabilities, Ran, Session, SessionInfo, Wait
from tests.bundle.made import TASKS, image, make_bundle, session

HELD: list[int] = []
CPU = Capabilities(device="CPU", device_name="a CPU", isa=(), precisions=("f32",), runtime="none")


class Made(Session):
    """The made model without a runtime, which is started in a thread."""

    def __init__(self, manifest: Manifest) -> None:
        info = SessionInfo(target="fake", capabilities=CPU, precision="f32", executed_on="device", settings={})
        super().__init__(info, manifest.inputs, manifest.outputs)

    def _infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        return session("raw")(dict(feed))

    def _close(self) -> None:
        """Nothing is held."""


def frames(count: int) -> Iterator[Frame]:
    """Frames of six images in turns."""
    for index in range(count):
        HELD.append(index)
        yield Frame(f"{index:06d}", "here", image(index % 6), index / 25, 0.0, 0.0)


def wanted(*kinds: str, moving: bool = False) -> Wanted:
    """All tasks of the made bundle."""
    return Wanted(tasks=tuple(TASKS), kinds=kinds, alpha=0.5, codec="mpeg4", moving=moving)


@pytest.mark.parametrize("ahead", [True, False])
def test_frames_are_finished_in_order_and_two_are_held_at_most(tmp_path: Path, ahead: bool) -> None:
    manifest = make_bundle(tmp_path / "bundle").manifest
    HELD.clear()
    done: list[str] = []

    def report(frame: Frame, files: list[str]) -> None:
        done.append(frame.name)
        assert len(HELD) - len(done) <= (1 if ahead else 0) and files == []

    with Made(manifest) as model, Outputs(tmp_path / "out", manifest, wanted()) as outputs:
        run(manifest, model.start, frames(9), outputs, report, Clock(), ahead=ahead)
    assert done == [f"{index:06d}" for index in range(9)]


def test_a_frame_is_inferred_while_the_one_before_is_drawn(tmp_path: Path) -> None:
    """The session of frame 1 waits until frame 0 was reported: a run one after the other would never end."""
    manifest, reported, calls = make_bundle(tmp_path / "bundle").manifest, Event(), []

    class Waiting(Made):
        def _infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
            calls.append(1)
            assert len(calls) < 2 or reported.wait(60)
            return super()._infer(feed)

    with Waiting(manifest) as model, Outputs(tmp_path / "out", manifest, wanted()) as outputs:
        run(manifest, model.start, frames(2), outputs, lambda *_: reported.set(), Clock(), ahead=True)
    assert len(calls) == 2


def test_an_inference_takes_as_long_as_the_session_says_not_as_long_as_it_is_waited_for(tmp_path: Path) -> None:
    manifest, clock = make_bundle(tmp_path / "bundle").manifest, Clock()

    class Clocked(Made):
        def _start(self, feed: Mapping[str, Array]) -> Wait:
            return lambda: Ran(self._infer(feed), 12345.0)

    with Clocked(manifest) as model, Outputs(tmp_path / "out", manifest, wanted()) as outputs:
        run(manifest, model.start, frames(3), outputs, lambda *_: None, clock, ahead=True)
    spreads = clock.spreads()
    assert spreads["infer"] == (12345.0, 12345.0) and all(spreads[name].p95 < 12345 for name in ("pre", "post", "draw"))


@pytest.mark.parametrize("where", ["session", "drawing"])
def test_after_an_error_nothing_of_a_later_frame_is_written(tmp_path: Path, where: str) -> None:
    """The error of the second frame is what is raised, although the third was begun."""
    manifest, done, calls = make_bundle(tmp_path / "bundle").manifest, [], []

    class Failing(Made):
        def _infer(self, feed: Mapping[str, Array]) -> dict[str, Array]:
            calls.append(1)
            if where == "session" and len(calls) > 1:
                raise RuntimeError(f"call {len(calls)}")
            return super()._infer(feed)

    def report(frame: Frame, files: list[str]) -> None:
        if where == "drawing" and done:
            raise OSError(f"frame {frame.name}")
        done.append(frame.name)

    error, said = (SessionFailed, "call 2") if where == "session" else (OSError, "frame 000001")
    target = Outputs(tmp_path / "out", manifest, wanted())
    with Failing(manifest) as model, target as outputs, pytest.raises(error, match=said):
        run(manifest, model.start, frames(9), outputs, report, Clock(), ahead=True)
    assert done == ["000000"]


@pytest.mark.parametrize(
    ("every", "limit", "names"),
    [(1, 0, [0, 1, 2, 3, 4]), (2, 0, [0, 2, 4]), (2, 2, [0, 2]), (3, 9, [0, 3]), (1, 1, [0])],
)
def test_which_frames_are_taken_and_read(every: int, limit: int, names: list[int]) -> None:
    HELD.clear()
    assert [int(frame.name) for frame in chosen(frames(5), every, limit)] == names
    assert len(HELD) == (names[-1] + 1 if limit and len(names) == limit else 5)


def test_the_clock_gives_the_median_and_the_95th_percentile_of_the_latest_times() -> None:
    clock = Clock()
    for value in range(KEPT + 101):
        clock.add("infer", float(value))
    latest = np.arange(101, KEPT + 101)
    assert clock.spreads() == {"infer": (float(np.median(latest)), pytest.approx(float(np.quantile(latest, 0.95))))}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_frames(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the extra video is not installed")
    manifest, peaks = make_bundle(tmp_path / "bundle").manifest, []
    tracemalloc.start()
    try:
        for number, count in enumerate((20, 20, 300)):
            tracemalloc.reset_peak()
            target = Outputs(tmp_path / str(number), manifest, wanted("maps", moving=True))
            with Made(manifest) as model, target as outputs:
                run(manifest, model.start, frames(count), outputs, lambda *_: None, Clock(), ahead=True)
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 280 * image(0).nbytes / 2  # not even the frames are kept
