"""Pooling over windows of pixels, in ONNX's words."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from compile.graphs.pytorch.base import Ints
from compile.graphs.pytorch.products import CONVOLUTIONS, paddings, torch_pads

MAXIMA = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
AVERAGES = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


class Windows(NamedTuple):
    """Where the windows of a pooling lie: all of one length, one entry per spatial axis.

    ``tail`` is what has to be added behind the last element for the last window to be whole; negative: cut.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    tail: tuple[int, ...]

    @property
    def is_torch(self) -> bool:
        """Whether torch's own pooling takes the padding: alike on both sides, at most half a window."""
        fits = all(2 * pad <= width for pad, width in zip(self.before, self.kernel, strict=True))
        return fits and self.before == self.after


def windows(
    x: Tensor, kernel: Ints, strides: Ints, dilations: Ints, pads: Ints, auto_pad: str, ceil_mode: int
) -> Windows:
    """Place the windows; with ``ceil_mode`` one may hang over the end, but none starts behind the input."""
    rank = x.dim() - 2
    strides, dilations = tuple(strides) or (1,) * rank, tuple(dilations) or (1,) * rank
    before, after = paddings(x.shape[2:], kernel, strides, dilations, pads, auto_pad)
    tail = []
    for size, width, stride, dilation, head, end in zip(
        x.shape[2:], kernel, strides, dilations, before, after, strict=True
    ):
        reach = (width - 1) * dilation + 1
        room = size + head + end - reach
        last = -(-room // stride) if ceil_mode else room // stride
        if ceil_mode and last * stride >= size + head:
            last -= 1
        tail.append(last * stride + reach - size - head)
    return Windows(tuple(kernel), strides, dilations, before, after, tuple(tail))


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    strides: Ints = (),
    dilations: Ints = (),
    pads: Ints = (),
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> Tensor:
    """The greatest element of every window."""
    at = windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    pool = MAXIMA[x.dim() - 2]
    if at.is_torch:
        return pool(x, at.kernel, at.strides, at.before, at.dilations, bool(ceil_mode))
    least = float("-inf") if x.is_floating_point() else torch.iinfo(x.dtype).min
    padded = functional.pad(x, torch_pads(at.before, at.tail), value=least)
    return pool(padded, at.kernel, at.strides, 0, at.dilations)


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Ints,
    strides: Ints = (),
    dilations: Ints = (),
    pads: Ints = (),
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Tensor:
    """The mean of every window; with ``count_include_pad`` the padding counts, but not what is beyond it."""
    at = windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    if at.is_torch and set(at.dilations) == {1}:
        pool = AVERAGES[x.dim() - 2]
        return pool(x, at.kernel, at.strides, at.before, bool(ceil_mode), bool(count_include_pad))
    counted = torch.ones_like(x[:1, :1])
    if count_include_pad:
        counted = functional.pad(counted, torch_pads(at.before, at.after), value=1.0)
        beyond = [tail - after for tail, after in zip(at.tail, at.after, strict=True)]
        counted = functional.pad(counted, torch_pads([0] * len(beyond), beyond))
    else:
        counted = functional.pad(counted, torch_pads(at.before, at.tail))
    return _sums(functional.pad(x, torch_pads(at.before, at.tail)), at) / _sums(counted, at)


def _sums(x: Tensor, at: Windows) -> Tensor:
    channels = x.reshape(-1, 1, *x.shape[2:])
    ones = torch.ones(1, 1, *at.kernel, dtype=x.dtype, device=x.device)
    sums = CONVOLUTIONS[len(at.kernel)](channels, ones, None, at.strides, 0, at.dilations)
    return sums.reshape(*x.shape[:2], *sums.shape[2:])


def global_average_pool(x: Tensor) -> Tensor:
    """The mean over all pixels."""
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    """The greatest over all pixels."""
    return x.amax(tuple(range(2, x.dim())), keepdim=True)
