"""The real two-dimensional Fourier transform of a fixed size as matrix products, and the bands of its frequencies.

With x ``[height, width]``, orthonormal both ways, columns 0 … width/2 of the spectrum:

    X = F_h x F_w,     F_n = exp(−2πi·u·k/n)/√n       a complex product is one of real matrices, [[C, S], [−S, C]]

A bilinear resize is a matrix on each axis too, and is a part of F: a map comes in its own size. The inverse takes the real
part, so that in column 0, and in width/2 where that is whole, only a spectrum's Hermitian half acts. So for a real map a
multiplier W(u) acts there as (W(u) + W(−u))/2.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

Size: TypeAlias = tuple[int, int]
LOW = 0.5  # the largest radius of the low band
EDGE = 0.8  # the radius where the edge band starts; it grows to 1


class Bands(NamedTuple):
    """The frequencies' bands, ``[height, width/2 + 1]``: masks, each frequency's bin by radius, and that of its conjugate."""

    low: Tensor
    edge: Tensor
    bins: Tensor
    mirrored: Tensor


class Transform(nn.Module):
    """Maps of ``size``, resized to ``grid``, to their spectra."""

    across: Tensor
    along: Tensor

    def __init__(self, size: Size, grid: Size) -> None:
        super().__init__()
        cosine, sine = (resized(size[1], grid[1]).T @ part.T for part in waves(grid[1], grid[1] // 2 + 1))
        register(self, "across", torch.cat([cosine, -sine], 1))
        cosine, sine = (part @ resized(size[0], grid[0]) for part in waves(grid[0], grid[0]))
        register(self, "along", complex_matrix(cosine, -sine))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, channels, height, width]`` to ``[batch, channels, 2, rows, columns]``: real and imaginary parts."""
        with full_precision(self, x):
            parts = (x.to(self.across.dtype) @ self.across).chunk(2, -1)
            return torch.unflatten(self.along @ torch.cat(parts, -2), -2, (2, -1))


class Inverse(nn.Module):
    """Spectra to real maps on ``grid``."""

    across: Tensor
    along: Tensor

    def __init__(self, grid: Size) -> None:
        super().__init__()
        cosine, sine = waves(grid[0], grid[0])
        register(self, "along", complex_matrix(cosine, sine))
        cosine, sine = waves(grid[1], grid[1] // 2 + 1)
        twice = torch.full((len(cosine), 1), 2.0, dtype=torch.float64)
        twice[self_conjugate(grid[1])] = 1.0
        register(self, "across", torch.cat([twice * cosine, -twice * sine]))

    def forward(self, spectrum: Tensor) -> Tensor:
        """Map ``[batch, channels, 2, rows, columns]`` to ``[batch, channels, height, width]``."""
        with full_precision(self, spectrum):
            parts = (self.along @ spectrum.to(self.along.dtype).flatten(-3, -2)).chunk(2, -2)
            return torch.cat(parts, -1) @ self.across


def full_precision(module: nn.Module, x: Tensor) -> AbstractContextManager[object]:
    """Return a context without autocast in training: rounding of frequency 0, the largest, would cover the others."""
    return torch.autocast(x.device.type, enabled=False) if module.training else nullcontext()


def waves(size: int, frequencies: int) -> tuple[Tensor, Tensor]:
    """Return cos and sin of 2π·u·k/size over √size, float64 ``[frequencies, size]``."""
    turns = torch.outer(torch.arange(frequencies), torch.arange(size)) % size
    angle = 2 * torch.pi * turns.double() / size
    return angle.cos() / size**0.5, angle.sin() / size**0.5


def complex_matrix(real: Tensor, imaginary: Tensor) -> Tensor:
    """Return the real matrix that multiplies real parts above imaginary ones by a complex matrix."""
    return torch.cat([torch.cat([real, -imaginary], 1), torch.cat([imaginary, real], 1)])


def resized(size: int, grid: int) -> Tensor:
    """Return the bilinear resize of one axis, half-pixel centres, as a float64 matrix ``[grid, size]``."""
    unit = torch.eye(size, dtype=torch.float64)[None]
    return functional.interpolate(unit, size=grid, mode="linear", align_corners=False)[0].T


def self_conjugate(width: int) -> list[int]:
    """Return the columns of a spectrum that hold the conjugates of their own frequencies."""
    return [0] if width % 2 else [0, width // 2]


def bands(grid: Size, kind: Literal["centred", "released"], bins: int) -> Bands:
    """Return the bands of a grid's spectrum; radii are computed in float32, as in the release."""
    rows, columns = grid[0], grid[1] // 2 + 1
    if kind == "released":
        y, x = torch.linspace(-1, 1, rows, dtype=torch.float32), torch.linspace(0, 1, columns, dtype=torch.float32)
    else:
        y, x = (2 * torch.fft.fftfreq(grid[0])).float(), (2 * torch.fft.rfftfreq(grid[1])).float()
    radius = (y.square()[:, None] + x.square()).clamp(0, 1).sqrt()
    edge = ((radius - EDGE) / (1 - EDGE + 1e-6)).clamp(0, 1)
    limits = torch.linspace(0, 1, bins + 1, dtype=torch.float32)[1:-1]
    by_radius = torch.bucketize(radius, limits)
    mirrored = by_radius.clone()
    own = self_conjugate(grid[1])
    mirrored[:, own] = by_radius.flip(0).roll(1, 0)[:, own]
    return Bands(radius <= LOW, edge, by_radius, mirrored)


def register(module: nn.Module, name: str, value: Tensor) -> None:
    """Give a module a constant, in the default type where it is floating-point, that no checkpoint holds."""
    kept = value.to(torch.get_default_dtype()) if value.is_floating_point() else value
    module.register_buffer(name, kept.contiguous(), persistent=False)
