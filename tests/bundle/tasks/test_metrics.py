"""Every metric against torchmetrics or a float64 formula written another way, and the properties that hold always."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import JaccardIndex, MeanSquaredError
from torchmetrics.functional.classification import binary_jaccard_index, binary_precision_recall_curve

from bundle.base.errors import DatasetError
from bundle.tasks.kinds.probability import Probability
from bundle.tasks.metrics import (
    MaxF,
    MaxThresholdIou,
    MeanAngularErrorDeg,
    MeanIou,
    Metric,
    OdsF,
    RmseM,
    ShareUnderDeg,
    ShareWithinFactor,
)
from bundle.tasks.table import TASKS, task

SIZE = (24, 20)
CLASSES = 5


def random_pair(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a label of one task, both random, some label pixels invalid."""
    generator = np.random.default_rng(seed)
    kind = task(name).kind
    if kind.channels is None:
        label = generator.choice(np.array([*range(CLASSES), 255], np.uint8), SIZE)
        return generator.integers(0, CLASSES, SIZE).astype(np.uint8), label
    if isinstance(kind, Probability):
        return generator.random(SIZE, dtype=np.float32), (generator.random(SIZE) < 0.2).astype(np.uint8)
    if not kind.axes:
        valid = generator.random(SIZE) < 0.8
        return generator.random(SIZE, np.float32) * 5, generator.random(SIZE, np.float32) * 5 * valid
    prediction, label = (vectors / np.linalg.norm(vectors, axis=0) for vectors in generator.normal(size=(2, 3, *SIZE)))
    return prediction.astype(np.float32), (label * (generator.random(SIZE) < 0.8)).astype(np.float32)


def perfect(name: str, label: np.ndarray) -> np.ndarray:
    """The prediction that equals the label wherever it is valid."""
    if task(name).channels is None:
        return np.where(label == 255, 0, label).astype(np.uint8)
    return label.astype(np.float32)


def total(measure: Metric, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    return np.sum([measure.per_image(prediction, label) for prediction, label in pairs], axis=0)


NAMES = [row.name for row in TASKS]
BEST = {"semseg": 1.0, "human_parts": 1.0, "saliency": 1.0, "normals": 0.0, "depth": 0.0, "edge": 1.0}


def measure_of(name: str) -> Metric:
    return task(name).judge(task(name).channels or CLASSES)


# Against what we did not write


def test_mean_iou_is_torchmetrics_jaccard() -> None:
    pairs = [random_pair("semseg", seed) for seed in range(6)]
    theirs = JaccardIndex("multiclass", num_classes=CLASSES, ignore_index=255, average="macro")
    for prediction, label in pairs:
        theirs.update(torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(label.astype(np.int64)))
    measure = MeanIou(classes=CLASSES, empty_class=None)
    assert measure.reduce(total(measure, pairs)) == pytest.approx(float(theirs.compute()), abs=1e-6)


def test_rmse_is_torchmetrics_over_the_valid_pixels() -> None:
    pairs = [random_pair("depth", seed) for seed in range(4)]
    theirs = MeanSquaredError(squared=False)
    for prediction, label in pairs:
        theirs.update(torch.from_numpy(prediction[label > 0]), torch.from_numpy(label[label > 0]))
    measure = RmseM()
    assert measure.reduce(total(measure, pairs)) == pytest.approx(float(theirs.compute()), rel=1e-5)


def test_angular_error_is_the_arccosine_of_torchs_cosine() -> None:
    pairs = [random_pair("normals", seed) for seed in range(4)]
    angles = []
    for prediction, label in pairs:
        valid = label.any(axis=0)
        p, t = (torch.from_numpy(array[:, valid].astype(np.float64)) for array in (prediction, label))
        angles.append(torch.rad2deg(torch.arccos(torch.nn.functional.cosine_similarity(p, t, dim=0))))
    measure = MeanAngularErrorDeg()
    assert measure.reduce(total(measure, pairs)) == pytest.approx(float(torch.cat(angles).mean()), rel=1e-6)


def test_max_f_is_that_of_torchmetrics_curves() -> None:
    pairs = [random_pair("saliency", seed) for seed in range(4)]
    thresholds = torch.arange(1, 256, dtype=torch.float64) / 255
    curves = []
    for probability, label in pairs:
        on_grid = (
            np.floor(probability * np.float32(255)) / 255
        )  # a level on the grid compares the same in any precision
        curve = binary_precision_recall_curve(
            torch.from_numpy(on_grid + 1e-9), torch.from_numpy(label.astype(np.int64)), thresholds=thresholds
        )
        curves.append(torch.stack([curve[0][:-1], curve[1][:-1]]))  # the last entry is torchmetrics' end point
    precision, recall = torch.stack(curves).nan_to_num().mean(dim=0)
    expected = (1.3 * precision * recall / (0.3 * precision + recall)).nan_to_num().max()
    measure = MaxF()
    assert measure.reduce(total(measure, pairs)) == pytest.approx(float(expected), abs=1e-6)


def test_max_threshold_iou_is_torchmetrics_jaccard_per_image_and_threshold() -> None:
    pairs = [random_pair("saliency", seed) for seed in range(4)]
    for probability, label in pairs:
        probability[label != 0] = np.sqrt(probability[label != 0])  # so that thresholds differ
    found = [
        np.mean(
            [
                float(
                    binary_jaccard_index(
                        torch.from_numpy(p).double(), torch.from_numpy(t.astype(int)), threshold=float(cut)
                    )
                )
                for p, t in pairs
            ]
        )
        for cut in np.linspace(0.2, 0.9, 15)
    ]
    measure = MaxThresholdIou()
    sums = total(measure, pairs)
    np.testing.assert_allclose(sums[:15] / 4, found, atol=1e-6)
    assert measure.reduce(sums) == pytest.approx(max(found), abs=1e-6) and np.argmax(found) > 0


def test_an_empty_answer_to_an_empty_label_has_index_1_and_any_answer_0() -> None:
    measure, label = MaxThresholdIou(), np.zeros(SIZE, np.uint8)
    low, high = np.full(SIZE, 0.1, np.float32), np.full(SIZE, 0.95, np.float32)
    assert (measure.reduce(measure.per_image(low, label)), measure.reduce(measure.per_image(high, label))) == (1.0, 0.0)


@pytest.mark.parametrize("angle", [11.25, 22.5, 30.0])
def test_share_under_is_counted_on_the_arccosine_of_torchs_cosine(angle: float) -> None:
    pairs = []
    for seed in range(3):
        prediction, label = random_pair("normals", seed)
        mixed = label + 0.7 * prediction  # most pixels are right, roughly
        pairs.append(((mixed / np.linalg.norm(mixed, axis=0)).astype(np.float32), label))
    under = []
    for prediction, label in pairs:
        valid = label.any(axis=0)
        p, t = (torch.from_numpy(array[:, valid].astype(np.float64)) for array in (prediction, label))
        under.append(
            torch.rad2deg(torch.arccos(torch.nn.functional.cosine_similarity(p, t, dim=0).clamp(-1, 1))) < angle
        )
    share = float(torch.cat(under).double().mean())
    measure = ShareUnderDeg(name="share", title="share", angle_deg=angle)
    assert measure.reduce(total(measure, pairs)) == pytest.approx(share, abs=1e-12) and 0.02 < share < 0.99


def test_delta_is_the_share_within_the_larger_of_both_ratios() -> None:
    pairs = [random_pair("depth", seed) for seed in range(3)]
    pairs[0][0][0, :3] = 0.0  # no depth at all: a ratio of infinity
    p, t = (np.concatenate([pair[side][pair[1] > 0] for pair in pairs]).astype(np.float64) for side in (0, 1))
    with np.errstate(divide="ignore"):
        share = float((np.maximum(p / t, t / p) < 1.25).mean())
    measure = ShareWithinFactor(name="delta", title="δ", factor=1.25)
    assert measure.reduce(total(measure, pairs)) == pytest.approx(share, abs=1e-12) and share > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_the_gated_figure_comes_first_and_the_others_follow_the_same_rules(name: str) -> None:
    row = task(name)
    first, *others = row.figures(row.channels or CLASSES)
    assert (first.name, first.direction) == (row.metric, row.direction) and first == measure_of(name)
    prediction, label = random_pair(name, 0)
    for other in others:
        array = other.per_image(prediction, label)
        assert array.shape == other.shape and other.direction == "higher"
        assert other.reduce(other.per_image(perfect(name, label), label)) == 1.0
        assert np.isnan(other.per_image(np.full_like(prediction, np.nan), label)).all()
        assert np.isnan(other.reduce(np.zeros(other.shape)))


def test_the_other_figures_are_those_of_the_field() -> None:
    found = {row.metric: [one.name for one in row.figures(row.channels or CLASSES)[1:]] for row in TASKS}
    assert found == {
        "miou": [],
        "ods_f": [],
        "max_f": ["max_threshold_miou"],
        "mean_angular_error_deg": ["share_under_11.25_deg", "share_under_22.5_deg", "share_under_30_deg"],
        "rmse_m": ["delta_1.25"],
    }


# What is defined where it could be undefined


def test_a_class_that_occurs_nowhere_is_left_out_and_a_missed_one_counts_zero() -> None:
    measure = MeanIou(classes=4, empty_class=None)
    label = np.array([[0, 0, 1, 1]], np.uint8)
    assert measure.reduce(measure.per_image(label, label)) == 1.0
    wrong = np.array([[0, 0, 3, 1]], np.uint8)  # class 1: 1/2, class 3: predicted only, 0
    assert measure.reduce(measure.per_image(wrong, label)) == pytest.approx((1 + 0.5 + 0) / 3)


def test_an_image_without_people_does_not_count_for_parts() -> None:
    measure = measure_of("human_parts")
    label = np.array([[0, 0, 255]], np.uint8)
    assert not measure.per_image(np.array([[1, 0, 1]], np.uint8), label).any()
    seen = np.array([[0, 1, 255]], np.uint8)  # its background counts
    assert measure.per_image(np.zeros((1, 3), np.uint8), seen).tolist() == [[1, 0, 0, 0, 0], [2, 1, 0, 0, 0]]


def test_an_ignored_pixel_counts_nowhere() -> None:
    measure = MeanIou(classes=2, empty_class=None)
    label = np.array([[0, 255, 1]], np.uint8)
    assert measure.per_image(np.array([[0, 1, 1]], np.uint8), label).tolist() == [[1, 1], [1, 1]]


def test_a_normal_without_direction_is_ninety_degrees_off() -> None:
    label = np.zeros((3, 1, 2), np.float32)
    label[2] = 1
    assert MeanAngularErrorDeg().per_image(np.zeros((3, 1, 2), np.float32), label).tolist() == [180, 2]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_valid_is_zeros_and_reduces_to_nan(name: str) -> None:
    prediction, label = random_pair(name, 0)
    measure = measure_of(name)
    empty = np.full_like(label, 255) if task(name).channels is None else np.zeros_like(label)
    answer = np.zeros_like(prediction) if name == "edge" else prediction  # a false edge counts in any image
    array = measure.per_image(answer, empty)
    assert array.shape == measure.shape and not array.any()
    assert np.isnan(measure.reduce(array))


@pytest.mark.parametrize("name", ["saliency", "normals", "depth", "edge"])
def test_a_prediction_with_nan_gives_nan(name: str) -> None:
    prediction, label = random_pair(name, 0)
    prediction[..., 3] = np.nan
    measure = measure_of(name)
    array = measure.per_image(prediction, label)
    assert array.shape == measure.shape and np.isnan(array).all()
    assert np.isnan(measure.reduce(array))


@pytest.mark.parametrize("name", NAMES)
def test_another_shape_is_refused(name: str) -> None:
    prediction, label = random_pair(name, 0)
    with pytest.raises(DatasetError, match="differ in shape"):
        measure_of(name).per_image(prediction[..., 1:], label)


def test_a_class_beyond_the_spec_is_refused() -> None:
    with pytest.raises(DatasetError, match="class number is too large") as caught:
        MeanIou(classes=3, empty_class=None).per_image(np.array([[4]], np.uint8), np.array([[1]], np.uint8))
    assert "prediction 4" in caught.value.got


# Properties


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_perfect_prediction_is_the_best(name: str, seed: int) -> None:
    prediction, label = random_pair(name, seed)
    measure = measure_of(name)
    best = measure.reduce(measure.per_image(perfect(name, label), label))
    other = measure.reduce(measure.per_image(prediction, label))
    assert best == pytest.approx(BEST[name], abs=1e-12)
    assert other <= best if task(name).direction == "higher" else other >= best


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=5)
@given(order=st.permutations(range(4)))
def test_the_order_of_images_does_not_matter(name: str, order: list[int]) -> None:
    pairs = [random_pair(name, seed) for seed in range(4)]
    measure = measure_of(name)
    expected = measure.reduce(total(measure, pairs))
    assert measure.reduce(total(measure, [pairs[index] for index in order])) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_sums_reduced_together_are_those_reduced_alone(name: str) -> None:
    measure = measure_of(name)
    arrays = np.stack([measure.per_image(*random_pair(name, seed)) for seed in range(5)])
    together = measure.reduce_many(arrays)
    assert arrays.dtype == np.float64 and together.shape == (5,)
    assert together.tolist() == [measure.reduce(array) for array in arrays]


@pytest.mark.parametrize("name", ["semseg", "normals", "depth"])
def test_a_pooled_metric_is_that_of_one_large_image(name: str) -> None:
    pairs = [random_pair(name, seed) for seed in range(3)]
    measure = measure_of(name)
    joined = tuple(np.concatenate(arrays, axis=-1) for arrays in zip(*pairs, strict=True))
    assert measure.reduce(total(measure, pairs)) == pytest.approx(measure.reduce(measure.per_image(*joined)), rel=1e-12)


def test_the_metric_of_edges_is_ods_and_waits_for_the_end_of_training() -> None:
    assert isinstance(measure_of("edge"), OdsF)
    assert [row.name for row in TASKS if row.judge(CLASSES).slow] == ["edge"]
