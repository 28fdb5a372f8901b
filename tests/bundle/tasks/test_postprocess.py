"""Activations against PyTorch's, and the refusals."""

import numpy as np
import pytest
import torch

from bundle.base.errors import GraphError, RegressionFailed
from bundle.tasks.postprocess import predict
from bundle.tasks.table import TASKS, task

RAW = np.random.default_rng(0).normal(scale=30, size=(5, 7, 9)).astype(np.float32)


def test_argmax_is_torchs() -> None:
    label = predict(task("semseg"), RAW)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, torch.from_numpy(RAW).argmax(dim=0).numpy())


def test_a_tie_keeps_the_lower_class() -> None:
    assert predict(task("semseg"), np.ones((4, 2, 2), np.float32)).max() == 0


def test_sigmoid_is_torchs_and_does_not_overflow() -> None:
    raw = np.concatenate([RAW[0].reshape(-1), [-1e4, 1e4, 0]]).astype(np.float32).reshape(1, 6, 11)
    probability = predict(task("edge"), raw)
    assert probability.dtype == np.float32
    np.testing.assert_allclose(probability, torch.sigmoid(torch.from_numpy(raw[0])).numpy(), atol=1e-7)


def test_unit_is_torchs_and_keeps_zero() -> None:
    raw = RAW[:3].copy()
    raw[:, 0, 0] = 0
    expected = torch.nn.functional.normalize(torch.from_numpy(raw), dim=0, eps=1e-30).numpy()
    np.testing.assert_allclose(predict(task("normals"), raw), expected, atol=1e-6)


def test_relu_cuts_negative_depth() -> None:
    np.testing.assert_array_equal(predict(task("depth"), RAW[:1]), np.maximum(RAW[0], 0))


def test_half_precision_outputs_are_taken() -> None:
    assert predict(task("depth"), RAW[:1].astype(np.float16)).dtype == np.float32


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [row.name for row in TASKS])
def test_an_output_that_is_not_finite_is_a_regression(name: str, value: float) -> None:
    raw = RAW[: task(name).channels].copy()
    raw[0, 2, 3] = value
    with pytest.raises(RegressionFailed, match=f"output of {name} is not finite") as caught:
        predict(task(name), raw)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("name", "raw"),
    [("semseg", RAW[None]), ("depth", RAW[:2]), ("normals", RAW[:1]), ("edge", np.zeros((1, 4, 4), np.int32))],
)
def test_an_output_of_another_shape_or_dtype_is_refused(name: str, raw: np.ndarray) -> None:
    with pytest.raises(GraphError, match="wrong dtype or shape"):
        predict(task(name), raw)
