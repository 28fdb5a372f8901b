"""One loss per activation of the task table, as in the dense-prediction literature (ASTMT, MTI-Net, MTLoRA).

semseg, human_parts   cross-entropy, 255 ignored, optionally weighted by class
saliency, edge        binary cross-entropy, each side weighted by the other side's share of the batch (Xie and Tu, HED)
normals               L1 between unit vectors over valid pixels (a zero label is invalid)
depth                 L1 in metres over valid pixels (a zero label is invalid), on the raw output
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from bundle.tasks.dataset import IGNORE
from bundle.tasks.table import Activation


def cross_entropy(raw: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of raw [B, C, H, W] against labels [B, H, W] in 0…C−1 or 255; 0 if every pixel is ignored."""
    total = functional.cross_entropy(raw, label.long(), weight=weight, ignore_index=IGNORE, reduction="sum")
    valid = label != IGNORE
    mass = valid.sum() if weight is None else weight[label[valid].long()].sum()
    return total / mass.clamp(min=1e-6)


def balanced_bce(raw: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean of raw [B, 1, H, W] against labels [B, H, W] in {0, 1}, positives weighted by the negatives' share."""
    truth = label.to(raw.dtype)[:, None]
    negative = 1 - truth.mean()
    share = torch.where(truth > 0, negative, 1 - negative)
    return functional.binary_cross_entropy_with_logits(raw, truth, weight=share)


def normals_l1(raw: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean absolute difference per component of unit vectors, raw and label [B, 3, H, W]."""
    valid = (label != 0).any(1, keepdim=True)
    difference = (functional.normalize(raw, dim=1, eps=1e-6) - label).abs() * valid
    return difference.sum() / (3 * valid.sum()).clamp(min=1)


def depth_l1(raw: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean absolute difference in metres of raw [B, 1, H, W] and label [B, H, W]."""
    valid = label > 0
    difference = (raw[:, 0] - label).abs() * valid
    return difference.sum() / valid.sum().clamp(min=1)


Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

LOSSES: dict[Activation, Loss] = {
    "argmax": cross_entropy,
    "sigmoid": balanced_bce,
    "unit": normals_l1,
    "relu": depth_l1,
}


def class_weights(labels: Tensor, classes: int, power: float) -> Tensor:
    """Return frequency^−power per class over labels (255 ignored), scaled so that the mean over pixels is 1; at most 20."""
    counts = torch.bincount(labels.flatten(), minlength=256)[:classes].double()
    share = counts.clamp(min=1) / counts.sum().clamp(min=1)
    weights = share**-power
    return (weights / (weights * share).sum()).clamp(max=20).float()
