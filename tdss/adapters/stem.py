"""A convolutional stem beside a backbone of coarse patches: one map of detail at H/4 × W/4, which all tasks share."""

import math

from torch import Tensor, nn

from tdss.adapters.config import STEM_STRIDE

DEPTH = 6


class Stem(nn.Module):
    """Six times Conv3×3 + BN + ReLU, the first two with stride 2: an answer sees 39 × 39 pixels. Batch norms are folded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        strided = int(math.log2(STEM_STRIDE))
        layers: list[nn.Module] = []
        for index in range(DEPTH):
            stride, incoming = 2 if index < strided else 1, channels if index else 3
            layers += [nn.Conv2d(incoming, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``[batch, 3, H, W]`` to ``[batch, ⌈H/4⌉, ⌈W/4⌉, channels]``."""
        return self.layers(image).permute(0, 2, 3, 1)  # type: ignore[no-any-return]
