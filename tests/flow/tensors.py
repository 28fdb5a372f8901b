"""Optical flow in PyTorch: the mean end-point error over valid pixels."""

import torch
from torch import Tensor

from tdss.kinds.tensor_kind import TensorKind, negate_x, view_labels
from tests.flow.kind import Flow


class FlowTensors(TensorKind[Flow]):
    """Labels are float [B, 2, H, W], NaN = invalid."""

    def predict(self, raw: Tensor) -> Tensor:
        return raw

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
        valid = label.isfinite().all(1)
        difference = (raw - torch.where(valid[:, None], label, raw.detach())).square().sum(1)
        return (difference + 1e-9).sqrt()[valid].sum() / valid.sum().clamp(min=1)

    def view(self, labels: Tensor, boxes: list[list[int]], flips: list[bool]) -> Tensor:
        """A mirrored motion (x, y) is (−x, y); a crop that is enlarged enlarges motions, each axis by its own zoom."""
        height, width = labels.shape[-2:]
        zoom = [[width / columns, height / rows] for _, _, rows, columns in boxes]
        scale = torch.tensor(zoom, dtype=labels.dtype)[:, :, None, None]
        return negate_x(view_labels(labels, boxes, flips), flips) * scale
