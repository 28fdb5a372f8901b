"""The timing protocol, on a clock that moves only where a subject says so."""

from collections.abc import Callable

import pytest

from compile.evaluation.timing import CLOCKS, Clock, measure, ratio, sample
from compile.stage.config import TimingConfig


class Scripted:
    """A clock, and subjects that take the seconds they are given, call by call."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, list[str]()

    def __call__(self) -> float:
        return self.now

    def subject(self, name: str, *seconds: float) -> Callable[[], None]:
        """A subject that says its name when it is called; each call but those with seconds takes no time."""
        left = iter(seconds)

        def run() -> None:
            self.calls.append(name)
            self.now += next(left, 0.0)

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    scripted = Scripted()
    monkeypatch.setitem(CLOCKS, "wall", scripted)
    return scripted


def test_rounds_are_interleaved_and_the_warm_up_is_not_counted(clock: Scripted) -> None:
    subjects = {"a": clock.subject("a", 5, 7, 0.001, 0.004, 0.002), "b": clock.subject("b", 9, 9, 0.003)}
    spent = sample(subjects, TimingConfig(runs=3, warmup=2))
    assert clock.calls == ["a", "b"] * 5
    assert spent == {"a": pytest.approx([1, 4, 2]), "b": pytest.approx([3, 0, 0])}


def test_of_a_burst_the_first_call_is_not_timed_and_the_median_of_the_rest_counts(clock: Scripted) -> None:
    subjects = {"a": clock.subject("a", 0.4, 0.003, 0.02, 0.5), "b": clock.subject("b")}
    spent = sample(subjects, TimingConfig(runs=1, warmup=0, burst=3))
    assert clock.calls == ["a"] * 4 + ["b"] * 4
    assert spent == {"a": [pytest.approx(20)], "b": [0.0]}


def test_the_median_is_quoted_in_milliseconds(clock: Scripted) -> None:
    result = measure({"a": clock.subject("a", 0.001, 0.02, 0.5)}, TimingConfig(runs=3, warmup=0))
    assert result == {"a": pytest.approx(20)}


@pytest.mark.parametrize(("name", "expected"), [("wall", [20.0]), ("cpu", [0.0])])
def test_the_clock_is_the_one_that_was_asked_for(
    clock: Scripted, monkeypatch: pytest.MonkeyPatch, name: Clock, expected: list[float]
) -> None:
    monkeypatch.setitem(CLOCKS, "cpu", Scripted())
    assert sample({"a": clock.subject("a", 0.02)}, TimingConfig(runs=1, warmup=0), name)["a"] == pytest.approx(expected)


def test_a_ratio_is_taken_round_by_round() -> None:
    """1.5, 1.6 and 2.5; the ratio of the medians would be 2, that of the minima 1.5."""
    assert ratio([3.0, 8.0, 10.0], [2.0, 5.0, 4.0]) == pytest.approx((1.6, 1.55, 2.05))


def test_a_ratio_of_one_round_has_no_spread_and_rounds_must_match() -> None:
    assert ratio([3.0], [2.0]) == (1.5, 1.5, 1.5)
    with pytest.raises(ValueError, match="shorter"):
        ratio([3.0, 4.0], [2.0])
