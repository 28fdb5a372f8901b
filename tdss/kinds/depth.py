"""A distance per pixel: L1 in metres over valid pixels (a zero label is invalid), on the raw output."""

import math

import torch
from torch import Tensor

from bundle.tasks.kinds.depth import Depth
from tdss.kinds.tensor_kind import TensorKind, view_labels


class DepthTensors(TensorKind[Depth]):
    """Labels are float [B, H, W] in metres."""

    def predict(self, raw: Tensor) -> Tensor:
        """Return metres, float32 [B, H, W]; what is negative becomes 0."""
        return raw[:, 0].relu()

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
        """Return the mean absolute difference in metres."""
        valid = label > 0
        difference = (raw[:, 0] - label).abs() * valid
        return difference.sum() / valid.sum().clamp(min=1)

    def view(self, labels: Tensor, boxes: list[list[int]], flips: list[bool]) -> Tensor:
        """Return the labels' views, divided by each sample's zoom.

        A crop that is zoomed by ``z`` shows things as large as they are at ``depth / z``, the only cue a single image has.
        ``z`` is the geometric mean of both axes' zooms.
        """
        height, width = labels.shape[-2:]
        zoom = [math.sqrt(rows * columns / (height * width)) for _, _, rows, columns in boxes]
        return view_labels(labels, boxes, flips) * torch.tensor(zoom, dtype=labels.dtype)[:, None, None]
