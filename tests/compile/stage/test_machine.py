"""Builds that share a machine: many work, one measures, and no other works then."""

import threading
from pathlib import Path

from compile.stage.machine import Machine


def test_who_measures_is_alone_and_nobody_waits_for_ever(tmp_path: Path) -> None:
    at_work, seen, guard = set[int](), list[set[int]](), threading.Lock()
    ended = list[int]()

    def build(number: int) -> None:
        machine = Machine(tmp_path / "machine")
        for _ in range(30):
            with machine.working():
                with guard:
                    at_work.add(number)
                with guard:
                    at_work.discard(number)
                with machine.alone():
                    with guard:
                        seen.append({*at_work})
                    pause.wait(0.001)
                    with guard:
                        seen.append({*at_work})
                with guard:
                    at_work.add(number)
                with guard:
                    at_work.discard(number)
        ended.append(number)

    pause = threading.Event()
    builds = [threading.Thread(target=build, args=(number,), daemon=True) for number in range(4)]
    for one in builds:
        one.start()
    for one in builds:
        one.join(timeout=120)
    assert sorted(ended) == [0, 1, 2, 3] and len(seen) == 4 * 30 * 2
    assert not any(seen), "someone was at work while another measured"


def test_who_waits_to_measure_goes_before_who_begins_to_work(tmp_path: Path) -> None:
    """Otherwise two builds that work in turns keep a third one from ever measuring."""
    order, first, second = list[str](), Machine(tmp_path / "machine"), Machine(tmp_path / "machine")

    def measure() -> None:
        with first.working():
            asked.set()
            with first.alone():
                order.append("measured")

    def work() -> None:
        with Machine(tmp_path / "machine").working():
            order.append("worked")

    asked = threading.Event()
    with second.working():
        measuring = threading.Thread(target=measure)
        measuring.start()
        asked.wait(10)
        threading.Event().wait(0.3)  # it waits for the room by now
        working = threading.Thread(target=work)
        working.start()
        threading.Event().wait(0.3)
        assert order == []
    measuring.join(30)
    working.join(30)
    assert order == ["measured", "worked"]


def test_without_a_file_nothing_is_waited_for_or_written(tmp_path: Path) -> None:
    machine = Machine(None)
    with machine.working(), machine.alone(), Machine(None).working():
        assert list(tmp_path.iterdir()) == []
