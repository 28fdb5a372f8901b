"""How a graph's answers are compared with the float graph's, task by task."""

from collections.abc import Mapping

import numpy as np
import pytest

from bundle.dataset import Array, FolderDataset
from bundle.errors import DatasetError
from compile.trial import Trial, labelled, sqnr_db, without_labels, worst
from tests.compile import made
from tests.compile.made import answer

BUDGETS = dict.fromkeys(made.TASKS, 0.01)


def test_the_reference_stands_at_zero(trial: Trial) -> None:
    standing = trial.stand(trial.measure(answer))
    assert {name: one.drop for name, one in standing.items()} == dict.fromkeys(made.TASKS, 0.0)
    assert standing["depth"].verdict == "pass"


def test_a_spoilt_task_is_the_worst_and_the_others_do_not_move(trial: Trial) -> None:
    def spoilt(feed: Mapping[str, Array]) -> dict[str, Array]:
        return answer(feed) | {"depth": np.asarray(answer(feed)["depth"], np.float32) + np.float32(9)}

    standing = trial.stand(trial.measure(spoilt))
    assert worst(standing)[0] == "depth" and standing["depth"].verdict == "regression"
    assert standing["normals"].drop == 0.0


def test_an_output_that_is_not_finite_is_a_regression(trial: Trial) -> None:
    def broken(feed: Mapping[str, Array]) -> dict[str, Array]:
        return answer(feed) | {"edge": np.full((1, 1, made.SIDE, made.SIDE), np.nan, np.float32)}

    assert trial.stand(trial.measure(broken))["edge"].verdict == "regression"


def test_missing_labels_are_known_before_they_are_read(dataset: FolderDataset) -> None:
    ids = (*made.CALIBRATION[:2], *made.EVALUATION[:2])
    assert without_labels(dataset, ids, tuple(made.TASKS)) == made.CALIBRATION[:2]
    with pytest.raises(DatasetError, match="label is missing"):
        labelled(dataset, ids, made.INFO["raw"])


def test_sqnr_is_that_of_the_definition() -> None:
    reference = [np.array([3.0, 4.0]), np.array([0.0, 5.0])]
    noisy = [np.array([3.0, 4.5]), np.array([0.5, 5.0])]
    assert sqnr_db(noisy, reference) == pytest.approx(10 * np.log10(50 / 0.5))
    assert sqnr_db(reference, reference) == float("inf")
