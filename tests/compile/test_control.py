"""The one float that stands for all tasks: 1 for the float graph, below 0 as soon as one task is beyond its budget."""

from collections.abc import Mapping

import numpy as np
import pytest

from bundle.dataset import Array
from compile.control import margin
from compile.trial import Trial
from tests.compile import made
from tests.compile.made import answer

IDS = list(range(len(made.EVALUATION)))


def test_the_float_graph_has_margin_one(trial: Trial) -> None:
    assert margin(trial, trial.measure(answer), IDS) == 1.0
    for index in IDS:  # single images: those without a person have no say about parts
        assert margin(trial, trial.only([index]).measure(answer), [index]) == 1.0


def test_the_worst_task_decides(trial: Trial) -> None:
    def worse(feed: Mapping[str, Array]) -> dict[str, Array]:
        spoilt = answer(feed)
        return spoilt | {"depth": np.asarray(spoilt["depth"], np.float32) * np.float32(1.02)}

    measured = trial.measure(worse)
    ours = trial.metric("depth", trial.reference["depth"])
    expected = 1 - (trial.metric("depth", measured["depth"]) - ours) / ours / 0.01
    assert margin(trial, measured, IDS) == pytest.approx(expected) and expected < 0
