"""Float graphs that this project did not make: what people leave unmerged, each beside what merging it gives.

A case's ``golden`` is the graph after a merge that a library does (``merge_and_unload``, ``fuse_conv_bn_eval``) or that is
written down here as one matrix. Weights are random, none of them zero.
"""

import itertools
from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tests.compile.folding.exporting import export_simplified


class Foreign(NamedTuple):
    """A graph, what to feed it, and the graph that folding must at least come down to."""

    model: ir.Model
    feeds: dict[str, NDArray[np.float32]]
    golden: ir.Model


def made(module: nn.Module, golden: nn.Module, shape: tuple[int, ...], *, optimize: bool = True) -> Foreign:
    """Export a module and its golden for one random input; they must compute the same."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(golden.eval()(x), module.eval()(x), rtol=0, atol=1e-4)
    plain, merged = (export_simplified(one, x, optimize=optimize) for one in (module, golden))
    return Foreign(plain, {"x": x.numpy()}, merged)


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Return the module with random parameters and statistics, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            fan = tensor[0].numel() if tensor.dim() > 1 else 1
            nn.init.normal_(tensor, std=fan**-0.5, generator=generator)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(norm.running_var, 0.5, 2.0, generator=generator)  # type: ignore[arg-type]
    return module.eval().requires_grad_(False)


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear of these values."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight)
    layer.bias = None if bias is None else nn.Parameter(bias)  # type: ignore[assignment]
    return layer.requires_grad_(False)


def batch_norms() -> Foreign:
    """Batch norm after a 3×3, a grouped and a 1×1 convolution."""
    convolutions = (
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(8, 6, 1),
    )
    norms = [nn.BatchNorm2d(layer.out_channels) for layer in convolutions]
    plain = filled(
        nn.Sequential(*(step for pair in zip(convolutions, norms, strict=True) for step in (*pair, nn.ReLU())))
    )
    fused = [fuse_conv_bn_eval(conv, norm) for conv, norm in zip(convolutions, norms, strict=True)]
    golden = nn.Sequential(*(step for layer in fused for step in (layer, nn.ReLU())))
    return made(plain, golden, (1, 3, 8, 8), optimize=False)


class Branches(nn.Module):
    """A RepVGG block: 3×3, 1×1 and identity, each with a batch norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.Conv2d(dim, dim, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(dim) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        wide, narrow, same = self.norms
        return functional.relu(wide(self.wide(x)) + narrow(self.narrow(x)) + same(x))

    def merged(self) -> nn.Sequential:
        """One 3×3 convolution."""
        dim = self.wide.out_channels
        same = nn.Conv2d(dim, dim, 1, bias=False)
        same.weight = nn.Parameter(torch.eye(dim)[..., None, None])
        convolutions = (self.wide, self.narrow, same)
        parts = [
            fuse_conv_bn_eval(conv.eval(), norm)  # type: ignore[arg-type]
            for conv, norm in zip(convolutions, self.norms, strict=True)
        ]
        one = nn.Conv2d(dim, dim, 3, padding=1)
        one.weight = nn.Parameter(
            parts[0].weight + sum(functional.pad(part.weight, (1, 1, 1, 1)) for part in parts[1:])
        )
        one.bias = nn.Parameter(torch.stack([part.bias for part in parts]).sum(0))  # type: ignore[arg-type]
        return nn.Sequential(one, nn.ReLU()).requires_grad_(False)


def repvgg() -> Foreign:
    """Two RepVGG blocks."""
    blocks = [Branches(6), Branches(6)]
    plain = filled(nn.Sequential(*blocks))
    return made(plain, nn.Sequential(*(block.merged() for block in blocks)), (1, 6, 6, 6), optimize=False)


class Halved(nn.Module):
    """A RepVGG block that halves the grid: 3×3 and 1×1 of stride 2, each with a batch norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(dim, 2 * dim, 3, padding=1, stride=2, bias=False)
        self.narrow = nn.Conv2d(dim, 2 * dim, 1, stride=2, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(2 * dim) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norms[0](self.wide(x)) + self.norms[1](self.narrow(x)))

    def merged(self) -> nn.Sequential:
        """One 3×3 convolution."""
        one, other = (
            fuse_conv_bn_eval(conv.eval(), norm)  # type: ignore[arg-type]
            for conv, norm in zip((self.wide, self.narrow), self.norms, strict=True)
        )
        one.weight += functional.pad(other.weight, (1, 1, 1, 1))
        one.bias = nn.Parameter(one.bias + other.bias)  # type: ignore[operator]
        return nn.Sequential(one, nn.ReLU()).requires_grad_(False)


def halving_repvgg() -> Foreign:
    """A RepVGG block of stride 2."""
    block = Halved(4)
    return made(filled(block), block.merged(), (1, 4, 8, 8), optimize=False)


def transposed_batch_norm() -> Foreign:
    """Batch norm after transposed convolutions, one with places left over at the end."""
    layers = (nn.ConvTranspose2d(6, 4, 2, stride=2), nn.ConvTranspose2d(4, 8, 3, 2, 1, output_padding=1, bias=False))
    norms = [nn.BatchNorm2d(layer.out_channels) for layer in layers]
    steps = (step for pair in zip(layers, norms, strict=True) for step in (*pair, nn.ReLU()))
    plain = filled(nn.Sequential(*steps))
    fused = [fuse_conv_bn_eval(layer, norm, transpose=True) for layer, norm in zip(layers, norms, strict=True)]
    golden = nn.Sequential(*(step for one in fused for step in (one, nn.ReLU())))
    return made(plain, golden, (1, 6, 4, 4), optimize=False)


def batch_norm_first() -> Foreign:
    """Batch norm before a convolution without padding, and before one with padding, where it must stay: no zero is shifted."""
    norms = nn.BatchNorm2d(4), nn.BatchNorm2d(8)
    free, padded = nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3, padding=1)
    plain = filled(nn.Sequential(nn.ReLU(), norms[0], free, nn.ReLU(), norms[1], padded, nn.ReLU()))
    scale = norms[0].weight / (norms[0].running_var + norms[0].eps).sqrt()  # type: ignore[operator]
    shift = norms[0].bias - norms[0].running_mean * scale  # type: ignore[operator]
    merged = deepcopy(free)
    merged.weight *= scale[:, None, None]
    merged.bias = nn.Parameter(free.bias + (free.weight * shift[:, None, None]).sum((1, 2, 3)))  # type: ignore[operator]
    return made(
        plain, nn.Sequential(nn.ReLU(), merged, nn.ReLU(), norms[1], padded, nn.ReLU()), (1, 4, 8, 8), optimize=False
    )


def narrowed_convolution() -> Foreign:
    """A 3×3 convolution and a 1×1 one with fewer rows are one; a depthwise one and a 1×1 one stay two."""
    wide, narrow = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
    apart = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 8, 1)
    plain = filled(nn.Sequential(wide, narrow, nn.ReLU(), *apart, nn.ReLU()))
    one = nn.Conv2d(4, 4, 3, padding=1)
    own = narrow.weight[:, :, 0, 0]
    one.weight = nn.Parameter(torch.einsum("om,mikl->oikl", own, wide.weight))
    one.bias = nn.Parameter(own @ wide.bias + narrow.bias)  # type: ignore[operator]
    return made(plain, nn.Sequential(one.requires_grad_(False), nn.ReLU(), *apart, nn.ReLU()), (1, 4, 8, 8))


class ScaledAndShifted(nn.Module):
    """SSF: a gain and a shift after a linear, after a norm, and after a convolution."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, dim, 4, stride=4), nn.LayerNorm(dim)
        self.first, self.second = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        sizes = (dim, dim, 2 * dim, dim)
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(size)) for size in sizes)
        self.shifts = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        steps = list(zip(self.gains, self.shifts, strict=True))
        gain, shift = steps[0]
        tokens = (self.patch(x) * gain[:, None, None] + shift[:, None, None]).flatten(2).transpose(1, 2)
        hidden = self._set(self.first(self._set(self.norm(tokens), steps[1])), steps[2])
        return tokens + self._set(self.second(functional.gelu(hidden)), steps[3])

    @staticmethod
    def _set(x: Tensor, step: tuple[Tensor, Tensor]) -> Tensor:
        return x * step[0] + step[1]

    def merged(self) -> "ScaledAndShifted":
        """The same without gains and shifts; the norm keeps none either, for one linear alone reads it."""
        found = deepcopy(self)
        (gp, g1, g2, g3), (bp, b1, b2, b3) = self.gains, self.shifts
        found.patch.weight *= gp[:, None, None, None]
        found.patch.bias = nn.Parameter(self.patch.bias * gp + bp)  # type: ignore[operator]
        found.norm.weight *= g1
        found.norm.bias = nn.Parameter(self.norm.bias * g1 + b1)
        found.first = linear(g2[:, None] * self.first.weight, g2 * self.first.bias + b2)
        found.second = linear(g3[:, None] * self.second.weight, g3 * self.second.bias + b3)
        found.forward = found.plain  # type: ignore[method-assign]
        return found

    def plain(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        return torch.as_tensor(tokens + self.second(functional.gelu(self.first(self.norm(tokens)))))


def scale_and_shift() -> Foreign:
    """SSF after each kind of operator."""
    plain = filled(ScaledAndShifted(8))
    return made(plain, plain.merged(), (1, 3, 16, 16))  # type: ignore[operator]


class Scaled(nn.Module):
    """Two residual branches with LayerScale."""

    def __init__(self, dim: int, *, scaled: bool = True) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.mix = nn.Linear(dim, dim, bias=False)
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(dim)) for _ in range(2)) if scaled else [1.0, 1.0]

    def forward(self, x: Tensor) -> Tensor:
        scales = self.scales if isinstance(self.scales, nn.ParameterList) else None
        for norm, branch, place in zip(self.norms, (self.mix, self._mlp), range(2), strict=True):
            part = branch(norm(x))
            x = x + (part if scales is None else scales[place] * part)
        return x

    def _mlp(self, n: Tensor) -> Tensor:
        return torch.as_tensor(self.down(functional.gelu(self.up(n))))


def layer_scale() -> Foreign:
    """LayerScale before both residual adds."""
    plain, golden = Scaled(8), Scaled(8, scaled=False)
    filled(plain)
    golden.load_state_dict(plain.state_dict(), strict=False)
    first, second = plain.scales
    golden.mix = linear(first[:, None] * plain.mix.weight, None)
    golden.down = linear(second[:, None] * plain.down.weight, second * plain.down.bias)
    return made(plain, golden.requires_grad_(False), (1, 9, 8))


def chain(widths: tuple[int, ...], kept: tuple[int, ...]) -> Foreign:
    """Linears without activations between a ReLU and a ReLU; the golden has only the widths at ``kept`` places."""
    layers = [nn.Linear(a, b, bias=bool(place % 2)) for place, (a, b) in enumerate(itertools.pairwise(widths))]
    plain = filled(nn.Sequential(nn.ReLU(), *layers, nn.ReLU()))
    golden = [_product(layers[first:last]) for first, last in itertools.pairwise(kept)]
    return made(plain, nn.Sequential(nn.ReLU(), *golden, nn.ReLU()), (1, 10, widths[0]))


class Parts(nn.Module):
    """A thin matrix back and forth, then a linear over each half of the channels."""

    def __init__(self, dim: int, *, merged: bool) -> None:
        super().__init__()
        self.halves = nn.ModuleList(nn.Linear(dim // 2, dim) for _ in range(2))
        self.scale = None if merged else nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        hidden = torch.relu(x) if self.scale is None else torch.relu(x) * self.scale
        return tuple(torch.relu(one(part)) for one, part in zip(self.halves, hidden.chunk(2, -1), strict=True))


def parts_of_a_tensor() -> Foreign:
    """Linears over halves of a tensor read no more than their half once a scale before them is gone."""
    plain, golden = filled(Parts(64, merged=False)), Parts(64, merged=True)
    for one, other, scale in zip(golden.halves, plain.halves, plain.scale.chunk(2), strict=True):  # type: ignore[union-attr, operator, arg-type]
        one.weight, one.bias = nn.Parameter(other.weight * scale), other.bias
    return made(plain, golden.requires_grad_(False), (1, 50, 64))


def _product(layers: list[nn.Linear]) -> nn.Linear:
    weight, bias = torch.eye(layers[0].in_features, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for layer in layers:
        own = layer.weight.double()
        weight, bias = own @ weight, own @ bias.expand(own.shape[1]) + (0 if layer.bias is None else layer.bias)
    has_bias = any(layer.bias is not None for layer in layers)
    return linear(weight.float(), bias.float() if has_bias else None)


class Beside(nn.Module):
    """x + mlp(n) + s·up(down(n)), n = norm(x): an adapter beside the MLP. Tied: up is down transposed."""

    def __init__(self, dim: int, rank: int, *, tied: bool) -> None:
        super().__init__()
        self.norm, self.wide, self.back = nn.LayerNorm(dim), nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.down = nn.Linear(dim, rank, bias=False)
        self.up = None if tied else nn.Linear(rank, dim, bias=False)
        self.read = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        n = self.norm(x)
        low = self.down(n)
        delta = functional.linear(low, self.down.weight.T) if self.up is None else self.up(low)
        y = x + self.back(functional.gelu(self.wide(n))) + 0.5 * delta
        return y, self.read(n)


def adapter_beside(*, tied: bool, rank: int = 2) -> Foreign:
    """The golden has the scale and the norm's gain and shift as they are: it must not be dearer, and is no count of nodes."""
    plain = filled(Beside(8, rank, tied=tied))
    x = torch.randn((1, 9, 8), generator=torch.Generator().manual_seed(1))
    model = export_simplified(plain, x)
    return Foreign(model, {"x": x.numpy()}, model)


MERGED: dict[str, Callable[[], Foreign]] = {
    "batch norm after a convolution": batch_norms,
    "RepVGG branches": repvgg,
    "RepVGG branches of stride 2": halving_repvgg,
    "batch norm after a transposed convolution": transposed_batch_norm,
    "batch norm before a convolution": batch_norm_first,
    "a convolution and a narrower one": narrowed_convolution,
    "scale and shift": scale_and_shift,
    "LayerScale": layer_scale,
    "two matrices, wide between": lambda: chain((8, 32, 8), (0, 2)),
    "two matrices, thin between": lambda: chain((32, 4, 32), (0, 1, 2)),
    "three matrices, thin at the end": lambda: chain((24, 48, 4, 24), (0, 2, 3)),
    "three matrices, thin at the start": lambda: chain((24, 4, 48, 24), (0, 1, 3)),
    "three matrices, wide between": lambda: chain((6, 24, 48, 6), (0, 3)),
}
BESIDE: dict[str, Callable[[], Foreign]] = {
    "adapter beside an MLP": lambda: adapter_beside(tied=False),
    "tied adapter beside an MLP": lambda: adapter_beside(tied=True),
    "tied adapter wider than its rank pays for": lambda: adapter_beside(tied=True, rank=7),
}
