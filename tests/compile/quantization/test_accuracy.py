"""How a graph's answers are compared with the float graph's, task by task."""

from collections.abc import Mapping

import numpy as np
import pytest

from bundle.base.errors import DatasetError
from bundle.judging.sensitivity import TaskDrop
from bundle.tasks.dataset import FolderDataset
from bundle.tasks.spec import Array
from compile.quantization.accuracy import AccuracyEvaluator, read_labelled, without_labels, worst
from tests.compile import made
from tests.compile.made import answer

BUDGETS = dict.fromkeys(made.TASKS, 0.01)


def test_the_reference_stands_at_zero(evaluator: AccuracyEvaluator) -> None:
    standing = evaluator.judge(evaluator.measure(answer))
    assert {name: one.drop for name, one in standing.items()} == dict.fromkeys(made.TASKS, 0.0)
    assert standing["depth"].verdict == "pass"


def test_a_spoilt_task_is_the_worst_and_the_others_do_not_move(evaluator: AccuracyEvaluator) -> None:
    def spoilt(feed: Mapping[str, Array]) -> dict[str, Array]:
        return answer(feed) | {"depth": np.asarray(answer(feed)["depth"], np.float32) + np.float32(9)}

    standing = evaluator.judge(evaluator.measure(spoilt))
    assert worst(standing)[0] == "depth" and standing["depth"].verdict == "regression"
    assert standing["normals"].drop == 0.0


def test_an_output_that_is_not_finite_is_a_regression(evaluator: AccuracyEvaluator) -> None:
    def broken(feed: Mapping[str, Array]) -> dict[str, Array]:
        return answer(feed) | {"edge": np.full((1, 1, made.SIDE, made.SIDE), np.nan, np.float32)}

    assert evaluator.judge(evaluator.measure(broken))["edge"].verdict == "regression"


def test_missing_labels_are_known_before_they_are_read(dataset: FolderDataset) -> None:
    ids = (*made.CALIBRATION[:2], *made.EVALUATION[:2])
    assert without_labels(dataset, ids, tuple(made.TASKS)) == made.CALIBRATION[:2]
    with pytest.raises(DatasetError, match="label is missing"):
        read_labelled(dataset, ids, made.INFO["raw"])


def test_a_drop_that_no_file_can_hold_is_read_again_as_undefined() -> None:
    for drop in (float("nan"), float("inf")):
        one = TaskDrop(drop=drop, interval=(0.5, drop), verdict="inconclusive")
        assert not one.defined
        written = one.model_dump_json()
        assert '"drop":null' in written
        read = TaskDrop.model_validate_json(written)
        assert np.isnan(read.drop) and read.interval[0] == 0.5 and np.isnan(read.interval[1]) and not read.defined
    assert TaskDrop(drop=float("inf"), interval=(1.0, 1.0), verdict="regression").defined
    assert TaskDrop(drop=0.0, interval=(-1.0, 1.0), verdict="inconclusive").defined


def test_an_undefined_task_is_never_the_worst() -> None:
    rows = {
        name: TaskDrop(drop=drop, interval=(drop, drop), verdict="inconclusive")
        for name, drop in {"a": float("nan"), "b": 0.25, "c": float("nan")}.items()
    }
    assert worst(rows) == ("b", 0.25)


def test_a_task_whose_output_is_not_finite_is_the_worst(evaluator: AccuracyEvaluator) -> None:
    def broken(feed: Mapping[str, Array]) -> dict[str, Array]:
        right = answer(feed)
        depth = np.asarray(right["depth"], np.float32) + np.float32(9)
        return right | {"depth": depth, "edge": np.full((1, 1, made.SIDE, made.SIDE), np.nan, np.float32)}

    standing = evaluator.judge(evaluator.measure(broken))
    assert np.isnan(standing["edge"].drop) and standing["depth"].drop > 1
    assert worst(standing) == ("edge", np.inf)


def test_tasks_without_labels_are_compared_with_the_float_graph(dataset: FolderDataset) -> None:
    info, unlabelled = made.INFO["raw"], ("depth", "semseg")
    samples = read_labelled(dataset, made.EVALUATION, info, unlabelled)
    assert all(set(sample.labels) == set(made.TASKS) - set(unlabelled) for sample in samples)
    evaluator = AccuracyEvaluator(samples, info, dict.fromkeys(made.TASKS, 0.05), 0, unlabelled)
    evaluator.set_reference(made.answer)
    same = evaluator.measure(made.answer)
    assert [evaluator.metric(name, same[name]) for name in unlabelled] == [1, 1]

    def larger(feed: Mapping[str, Array]) -> dict[str, Array]:
        return {name: np.asarray(output * np.float32(1.1)) for name, output in made.answer(feed).items()}

    drops = evaluator.judge(evaluator.measure(larger))
    assert drops["depth"].drop == pytest.approx(0.1, abs=2e-3) and drops["depth"].verdict == "regression"
    assert drops["semseg"].drop == 0 and drops["semseg"].verdict == "pass"
