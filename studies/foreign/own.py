"""Two networks of plain PyTorch that are fitted on labels: a U-Net with transposed convolutions, and a CNN with two heads."""

from abc import abstractmethod
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

WIDTHS = (8, 16, 32, 64)


class Fitted(nn.Module):
    """A network whose raw outputs have a loss: ``[B, C, h, w]`` by task."""

    @abstractmethod
    def raw(self, pixels: Tensor) -> Mapping[str, Tensor]:
        """Return the raw outputs of images."""


def block(taken: int, given: int, stride: int = 1) -> nn.Sequential:
    """Return two convolutions with norms."""
    return nn.Sequential(
        nn.Conv2d(taken, given, 3, stride, 1, bias=False),
        nn.BatchNorm2d(given),
        nn.ReLU(),
        nn.Conv2d(given, given, 3, 1, 1, bias=False),
        nn.BatchNorm2d(given),
        nn.ReLU(),
    )


class UNet(Fitted):
    """Three transposed convolutions with skips; class scores and metres at the image's size, which 8 divides."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        pairs = list(pairwise(WIDTHS))
        self.first = block(3, WIDTHS[0])
        self.down = nn.ModuleList(block(taken, given, 2) for taken, given in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(given, taken, 2, 2) for taken, given in reversed(pairs))
        self.joined = nn.ModuleList(block(2 * taken, taken) for taken, _ in reversed(pairs))
        self.classes, self.metres = nn.Conv2d(WIDTHS[0], classes, 1), nn.Conv2d(WIDTHS[0], 1, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Map images to class scores and distances."""
        skips = [self.first(pixels)]
        for down in self.down:
            skips.append(down(skips[-1]))
        value = skips.pop()
        for up, joined in zip(self.up, self.joined, strict=True):
            value = joined(torch.cat([skips.pop(), up(value)], 1))
        return self.classes(value), nn.functional.softplus(self.metres(value))

    def raw(self, pixels: Tensor) -> Mapping[str, Tensor]:
        """Return the outputs by task."""
        return dict(zip(("semseg", "depth"), self(pixels), strict=True))


class TwoHeads(Fitted):
    """A CNN with two heads at a quarter of the image's size: normals, and a probability that a Sigmoid ends."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(block(3, 24, 2), block(24, 48, 2), block(48, 64), block(64, 64))
        self.normals, self.salient = nn.Conv2d(64, 3, 1), nn.Conv2d(64, 1, 1)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map images to normals and probabilities."""
        normals, salient = self.raw(pixels).values()
        return {"normals": normals, "salient": salient.sigmoid()}

    def raw(self, pixels: Tensor) -> Mapping[str, Tensor]:
        """Return the outputs by task, the probability as its logit."""
        body = self.body(pixels)
        return {"normals": self.normals(body), "saliency": self.salient(body)}
