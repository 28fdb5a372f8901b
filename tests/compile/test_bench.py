"""The timing protocol."""

from time import sleep

import pytest

from compile.bench import measure, sample
from compile.config import TimingConfig


def test_rounds_are_interleaved_and_the_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    slow_first = iter([0.05, 0.05, 0.0, 0.0, 0.0])

    def one() -> None:
        calls.append("a")
        sleep(next(slow_first))

    result = measure({"a": one, "b": lambda: calls.append("b")}, TimingConfig(runs=3, warmup=2))
    assert calls == ["a", "b"] * 5
    assert result["a"] < 40


def test_of_a_burst_the_first_call_is_not_timed_and_the_median_of_the_rest_counts() -> None:
    calls: list[str] = []
    waits = iter([0.4, 0.0, 0.02, 0.5])

    def one() -> None:
        calls.append("a")
        sleep(next(waits))

    spent = sample({"a": one, "b": lambda: calls.append("b")}, TimingConfig(runs=1, warmup=0, burst=3))
    assert calls == ["a"] * 4 + ["b"] * 4
    assert spent["a"] == [pytest.approx(20, abs=15)]


def test_the_median_is_quoted_in_milliseconds() -> None:
    waits = iter([0.001, 0.02, 0.5])
    result = measure({"a": lambda: sleep(next(waits))}, TimingConfig(runs=3, warmup=0))
    assert result["a"] == pytest.approx(20, abs=15)
