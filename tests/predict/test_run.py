"""Frames through a session: in order, two at most at a time, and without memory that grows."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from predict.frame import KEPT, Clock, Frame
from predict.outputs import Outputs, Wanted
from predict.run import chosen, run
from tests.bundle.made import TASKS, image, make_bundle, session

HELD: list[int] = []


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

    with Outputs(tmp_path / "out", manifest, wanted()) as outputs:
        run(manifest, session("raw"), frames(9), outputs, report, Clock(), ahead=ahead)
    assert done == [f"{index:06d}" for index in range(9)]


def test_a_frame_is_inferred_while_the_one_before_is_drawn(tmp_path: Path) -> None:
    """The session of frame 1 waits until frame 0 was reported: a run one after the other would never end."""
    manifest, reported, calls = make_bundle(tmp_path / "bundle").manifest, Event(), []

    def infer(fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        calls.append(1)
        assert len(calls) < 2 or reported.wait(60)
        return session("raw")(fed)

    with Outputs(tmp_path / "out", manifest, wanted()) as outputs:
        run(manifest, infer, frames(2), outputs, lambda *_: reported.set(), Clock(), ahead=True)
    assert len(calls) == 2


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
            with Outputs(tmp_path / str(number), manifest, wanted("maps", moving=True)) as outputs:
                run(manifest, session("raw"), frames(count), outputs, lambda *_: None, Clock(), ahead=True)
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 280 * image(0).nbytes / 2  # not even the frames are kept
