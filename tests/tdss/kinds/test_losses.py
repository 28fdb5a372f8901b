"""Losses against torch's own or a sum written out by hand."""

import math

import pytest
import torch
from torch.nn import functional

from bundle.tasks.table import task
from tdss.kinds.tensor_kind import tensors

SEMSEG, EDGE, NORMALS, DEPTH = (tensors(task(name).kind) for name in ("semseg", "edge", "normals", "depth"))


def test_cross_entropy_is_torchs_mean() -> None:
    raw, label = torch.randn(2, 4, 5, 6), torch.randint(0, 4, (2, 5, 6))
    label[0, :2] = 255
    weight = torch.tensor([0.5, 1.0, 2.0, 4.0])
    for chosen in (None, weight):
        expected = functional.cross_entropy(raw, label, weight=chosen, ignore_index=255)
        torch.testing.assert_close(SEMSEG.loss(raw, label.byte(), chosen), expected)


def test_cross_entropy_of_nothing_is_zero_with_zero_gradient() -> None:
    raw = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = SEMSEG.loss(raw, torch.full((1, 2, 2), 255, dtype=torch.uint8), None)
    loss.backward()
    assert loss.item() == 0.0
    assert raw.grad is not None
    assert raw.grad.abs().max().item() == 0.0


def test_balanced_bce_by_hand() -> None:
    """Three negatives and one positive: the positive weighs 3/4, each negative 1/4."""
    raw, label = torch.tensor([0.3, -1.0, 2.0, 0.5]), [1, 0, 0, 0]
    probability = [1 / (1 + math.exp(-x)) for x in raw.tolist()]
    terms = [-0.75 * math.log(p) if y else -0.25 * math.log(1 - p) for p, y in zip(probability, label, strict=True)]
    got = EDGE.loss(raw.view(1, 1, 2, 2), torch.tensor(label, dtype=torch.uint8).view(1, 2, 2), None)
    assert got.item() == pytest.approx(sum(terms) / 4, rel=1e-5)


def test_normals_by_hand() -> None:
    """(0, 3, 4) is (0, .6, .8); against (0, 0, 1) that is (0 + .6 + .2)/3; the invalid pixel does not count."""
    raw = torch.tensor([[0.0, 3.0, 4.0], [1.0, 0.0, 0.0]]).T.reshape(1, 3, 1, 2)
    label = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]).T.reshape(1, 3, 1, 2)
    assert NORMALS.loss(raw, label, None).item() == pytest.approx(0.8 / 3, rel=1e-5)


def test_depth_by_hand() -> None:
    raw, label = torch.tensor([[[[1.0, 5.0, 9.0]]]]), torch.tensor([[[2.0, 2.0, 0.0]]])
    assert DEPTH.loss(raw, label, None).item() == pytest.approx((1 + 3) / 2)


def test_class_weights_average_to_one_over_pixels() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10 + [255] * 50, dtype=torch.uint8)
    weights = SEMSEG.class_weights(labels, 2, 0.5)
    assert weights is not None and EDGE.class_weights(labels, 1, 0.5) is None
    assert (0.9 * weights[0] + 0.1 * weights[1]).item() == pytest.approx(1.0)
    assert (weights[1] / weights[0]).item() == pytest.approx(3.0)
    torch.testing.assert_close(SEMSEG.class_weights(labels, 2, 0.0), torch.ones(2))
