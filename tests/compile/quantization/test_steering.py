"""The noise of a task's output steers the search: it adds, it needs few images, and what it foresees is checked against others' code."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import from_numpy
from torchmetrics.functional.audio import signal_noise_ratio

from bundle.formats.stored_maps import OUTPUT_STEP
from bundle.judging.sensitivity import LayerSensitivity, TaskDrop, costliest
from bundle.judging.verdict import Rule, Verdict, judge
from bundle.tasks.spec import Array
from bundle.tasks.table import task
from compile.quantization.accuracy import AccuracyEvaluator, LabelledImage, noise_of
from compile.quantization.steering import (
    HELD,
    NEAR,
    PASSED,
    Aim,
    affordable,
    broken,
    enough,
    foresee,
    left_by,
    level,
    near,
    order_layers,
    shortest,
)
from tests.compile import made


def layer(name: str, share: float, **sqnr_db: float) -> LayerSensitivity:
    """A layer with these SQNRs by task."""
    return LayerSensitivity(name=name, macs_share=share, sqnr_db=sqnr_db, drop=dict.fromkeys(sqnr_db, 0.0))


def standing(low: float, high: float) -> TaskDrop:
    """A task with this interval."""
    return TaskDrop(drop=(low + high) / 2, interval=(low, high), verdict="pass")


def test_layers_are_ordered_by_what_their_macs_buy_the_broken_task() -> None:
    rows = [
        layer("large", 0.5, depth=20.0, edge=60.0),
        layer("small", 0.01, depth=30.0, edge=60.0),
        layer("quiet", 0.01, depth=60.0, edge=10.0),
    ]
    assert [row.name for row in order_layers(rows, ["depth"])] == ["small", "large", "quiet"]
    assert next(row.name for row in order_layers(rows, ["edge"])) == "quiet"
    assert [row.name for row in affordable(order_layers(rows, ["depth"]), 0.1)] == ["small", "quiet"]
    assert [row.name for row in affordable(order_layers(rows, ["depth"]), 0.51)] == ["small", "large"]
    assert affordable(rows, 0.0) == affordable(rows, -0.1) == ()
    [(name, part)] = costliest(rows, "depth", 1)
    assert name == "large" and part == pytest.approx(0.01 / 0.011001)


def test_a_task_holds_only_if_it_moves_little_in_either_direction() -> None:
    tasks = {"depth": standing(-0.002, 0.004), "edge": standing(-0.009, 0.001), "semseg": standing(0.0, float("nan"))}
    assert broken(tasks, Aim(dict.fromkeys(tasks, 0.01), 0.5)) == ("edge", "semseg")
    assert broken(tasks, Aim(dict.fromkeys(tasks, 0.02), 0.5)) == ("semseg",)


@pytest.mark.parametrize(
    ("low", "high", "verdict", "close"),
    [
        (-0.002, 0.009, "pass", True),
        (-0.02, 0.025, "inconclusive", True),
        (0.004, 0.02, "inconclusive", False),
        (0.011, 0.02, "regression", False),
        (float("nan"), float("nan"), "inconclusive", False),
    ],
)
def test_a_task_the_images_cannot_decide_is_near_by_its_drop_alone(
    low: float, high: float, verdict: Verdict, close: bool
) -> None:
    one = standing(low, high).model_copy(update={"verdict": verdict})
    assert near(one, 0.005) == close


def test_noise_is_the_signal_to_noise_ratio_that_torchmetrics_measures() -> None:
    generator = np.random.default_rng(3)
    info = made.INFO["raw"].model_copy(update={"tasks": {"depth": 1}})
    outputs = [generator.uniform(1, 5, (1, 1, 21, 28)).astype(np.float32) for _ in range(3)]
    noisy = [one + generator.normal(scale=0.1, size=one.shape).astype(np.float32) for one in outputs]
    label = np.ones((21, 28), np.float32)
    samples = [LabelledImage(feed={"image": np.array(index)}, labels={"depth": label}) for index in range(3)]
    evaluator = AccuracyEvaluator(samples, info, {"depth": 0.01}, seed=0)

    def answers(arrays: list[Array], feed: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"depth": arrays[int(feed["image"])]}

    evaluator.set_reference(lambda feed: answers(outputs, feed))

    def noise(arrays: list[Array]) -> dict[str, float]:
        return noise_of(evaluator.see(lambda feed: answers(arrays, feed)).energies, 2)

    found = noise(noisy)["depth"]
    flat = [
        from_numpy(np.concatenate([one[..., ::OUTPUT_STEP, ::OUTPUT_STEP].reshape(-1) for one in rows[:2]]))
        for rows in (noisy, outputs)
    ]
    assert -10 * np.log10(found) == pytest.approx(float(signal_noise_ratio(*flat)), rel=1e-5)
    assert noise(outputs) == {"depth": 0.0}
    assert noise([one * np.float32("nan") for one in outputs]) == {"depth": float("inf")}


@pytest.mark.parametrize("left", [0.5, 0.25])
def test_what_is_foreseen_is_what_a_metric_of_the_quieter_answers_shows(left: float) -> None:
    """Depth by RMSE on 40 images: the same disturbance at √left of its amplitude moves the drop and its interval as foreseen."""
    generator = np.random.default_rng(0)
    label = generator.uniform(1, 5, (40, 16, 16)).astype(np.float32)
    answer = label + generator.normal(scale=0.5, size=label.shape).astype(np.float32)
    disturbance = generator.normal(scale=0.02, size=(40, 1, 1)).astype(np.float32)
    measure = task("depth").judge(1)
    rule = Rule(measure.reduce_many, "lower", 0.01, seed=0, resamples=2000)

    def standing_of(amplitude: float) -> TaskDrop:
        arrays = [
            np.stack([measure.per_image(a, b) for a, b in zip(rows, label, strict=True)])
            for rows in (answer, answer + np.float32(amplitude) * disturbance)
        ]
        judged = judge(*arrays, rule)
        return TaskDrop(drop=judged.drop, interval=judged.interval, verdict=judged.verdict)

    aim = Aim({"depth": 0.01}, 0.5)
    told = foresee({"depth": standing_of(1.0)}, {"depth": left}, aim)["depth"]
    seen = standing_of(left**0.5)
    width = seen.interval[1] - seen.interval[0]
    assert told.interval[1] - told.interval[0] == pytest.approx(width, rel=0.1)
    assert told.drop == pytest.approx(seen.drop, abs=0.25 * width)


def rows_of(*parts: float) -> list[LayerSensitivity]:
    """Layers of 1 % of the MACs each with these parts of depth's noise."""
    return [layer(f"layer{index}", 0.01, depth=float(-10 * np.log10(part))) for index, part in enumerate(parts)]


def test_the_shortest_prefix_that_is_foreseen_to_hold_is_enough_and_its_share_is_said() -> None:
    rows, aim = rows_of(0.4, 0.3, 0.2, 0.1), Aim({"depth": 0.01}, 0.5)
    tasks = {"depth": standing(-0.002, 0.008)}
    ordered = order_layers(rows, ["depth"])
    assert left_by(rows, ordered[:2])["depth"] == pytest.approx(0.3)
    assert shortest(ordered, rows, tasks, aim) == 2  # √.6 · 0.8 % is above the half of 1 %, √.3 · 0.8 % below
    assert enough(rows, tasks, aim, never=0.05) is None  # the verdict is a pass already
    beyond = {"depth": TaskDrop(drop=0.01, interval=(0.004, 0.015), verdict="inconclusive")}
    assert shortest(ordered[:1], rows, beyond, aim) == 0  # √.6 · 1.5 % is beyond 1 %
    assert enough(rows, beyond, aim, never=0.05) == pytest.approx(0.08)  # √.3 · 1.5 % is not: two layers more than 5 %


@settings(deadline=None)
@given(
    parts=st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=12), low=st.floats(-0.03, 0.0), high=st.floats(0.0, 0.05)
)
def test_no_prefix_is_worth_trying_that_is_not_foreseen_to_be_better(
    parts: list[float], low: float, high: float
) -> None:
    rows, aim = rows_of(*parts), Aim({"depth": 0.01}, 0.5)
    tasks = {
        "depth": TaskDrop(
            drop=(low + high) / 2, interval=(low, high), verdict="pass" if high <= 0.01 else "inconclusive"
        )
    }
    ordered = order_layers(rows, ["depth"])[: max(1, len(rows) // 2)]
    count = shortest(ordered, rows, tasks, aim)
    reached = [level(foresee(tasks, left_by(rows, ordered[:one]), aim), aim) for one in range(len(ordered) + 1)]
    assert (count > 0) == (reached[-1] > level(tasks, aim))
    assert not count or (reached[count] == reached[-1] and (reached[-1] == NEAR or count == reached.index(reached[-1])))
    assert level(foresee(tasks, {"depth": 0.0}, aim), aim) == HELD > PASSED
