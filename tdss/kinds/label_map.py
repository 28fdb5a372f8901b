"""A class per pixel: cross-entropy, 255 ignored, optionally weighted by class."""

import torch
from torch import Tensor
from torch.nn import functional

from bundle.tasks.kinds.label_map import LabelMap
from bundle.tasks.spec import IGNORE
from tdss.kinds.tensor_kind import TensorKind


class LabelMapTensors(TensorKind[LabelMap]):
    """Labels are uint8 [B, H, W] in 0…C−1 or 255."""

    def predict(self, raw: Tensor) -> Tensor:
        """Return uint8 [B, H, W]."""
        return self.predict_as(raw, torch.uint8)

    def predict_as(self, raw: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the class in another integer type; to uint8 it goes through float32, for TensorRT makes that from floats only."""
        label = raw.argmax(1)
        return label.float().to(dtype) if dtype == torch.uint8 else label.to(dtype)

    def loss(self, raw: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
        """Return the mean cross-entropy; 0 if every pixel is ignored."""
        total = functional.cross_entropy(raw, label.long(), weight=weight, ignore_index=IGNORE, reduction="sum")
        valid = label != IGNORE
        mass = valid.sum() if weight is None else weight[label[valid].long()].sum()
        return total / mass.clamp(min=1e-6)

    def class_weights(self, labels: Tensor, channels: int, power: float) -> Tensor:
        """Return frequency^−power per class, scaled so that the mean over pixels is 1; at most 20."""
        counts = torch.bincount(labels.flatten(), minlength=256)[:channels].double()
        share = counts.clamp(min=1) / counts.sum().clamp(min=1)
        weights = share**-power
        return (weights / (weights * share).sum()).clamp(max=20).float()
