"""A direction per pixel: L1 between unit vectors over valid pixels (a zero label is invalid)."""

import torch
from torch import Tensor
from torch.nn import functional

from bundle.tasks.kinds.unit_vector import UnitVector
from tdss.kinds.tensor_kind import TensorKind, negate_x, view_labels


class UnitVectorTensors(TensorKind[UnitVector]):
    """Labels are float [B, 3, H, W]."""

    def predict(self, raw: Tensor) -> Tensor:
        """Return vectors of length 1, float32 [B, 3, H, W]; a zero vector stays zero."""
        length = (raw * raw).sum(1, keepdim=True).sqrt()
        return raw / torch.where(length > 0, length, torch.ones_like(length))

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
        """Return the mean absolute difference per component."""
        valid = (label != 0).any(1, keepdim=True)
        difference = (functional.normalize(raw, dim=1, eps=1e-6) - label).abs() * valid
        return difference.sum() / (3 * valid.sum()).clamp(min=1)

    def view(self, labels: Tensor, boxes: list[list[int]], flips: list[bool]) -> Tensor:
        """Return the labels' views: a mirrored vector (x, y, z) is (−x, y, z); a crop does not turn the camera."""
        return negate_x(view_labels(labels, boxes, flips), flips)
