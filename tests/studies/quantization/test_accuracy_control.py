"""The one float that stands for all tasks: 1 for the float graph, below 0 as soon as one task is beyond its budget."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from bundle.tasks.spec import Array
from compile.quantization.accuracy import AccuracyEvaluator
from studies.quantization.accuracy_control import margin
from tests.compile import made
from tests.compile.made import answer

IDS = list(range(len(made.EVALUATION)))


def test_the_float_graph_has_margin_one(evaluator: AccuracyEvaluator) -> None:
    assert margin(evaluator, evaluator.measure(answer), IDS) == 1.0
    for index in IDS:  # single images: those without a person have no say about parts
        assert margin(evaluator, evaluator.only([index]).measure(answer), [index]) == 1.0


def test_the_worst_task_decides(evaluator: AccuracyEvaluator) -> None:
    def worse(feed: Mapping[str, Array]) -> dict[str, Array]:
        spoilt = answer(feed)
        return spoilt | {"depth": np.asarray(spoilt["depth"], np.float32) * np.float32(1.02)}

    measured = evaluator.measure(worse)
    ours = evaluator.metric("depth", evaluator.reference["depth"])
    expected = 1 - (evaluator.metric("depth", measured["depth"]) - ours) / ours / 0.01
    assert margin(evaluator, measured, IDS) == pytest.approx(expected) and expected < 0


def without(name: str) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """The float graph with one task's answer NaN everywhere."""

    def spoilt(feed: Mapping[str, Array]) -> dict[str, Array]:
        right = answer(feed)
        return right | {name: np.full_like(np.asarray(right[name], np.float32), np.nan)}

    return spoilt


@pytest.mark.parametrize("name", list(made.TASKS))
def test_an_answer_of_nan_is_worse_than_any_number(evaluator: AccuracyEvaluator, name: str) -> None:
    assert margin(evaluator, evaluator.measure(without(name)), IDS) == -np.inf
    for index in IDS:  # where a task has no label on an image, too: its output is no answer
        assert margin(evaluator, evaluator.only([index]).measure(without(name)), [index]) == -np.inf


def test_accuracy_control_goes_on_from_a_margin_of_minus_infinity() -> None:
    algorithm = pytest.importorskip("nncf.quantization.algorithms.accuracy_control.algorithm", reason="needs NNCF")
    kind = algorithm.DropType.ABSOLUTE
    assert algorithm.calculate_accuracy_drop(1.0, -np.inf, 1.0, kind) == (False, np.inf)
    assert algorithm.calculate_accuracy_drop(1.0, 0.0, 1.0, kind) == (True, 1.0)
