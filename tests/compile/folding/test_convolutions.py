"""Parallel convolutions become one where their places coincide, and stay apart where they do not."""

from collections.abc import Callable
from functools import partial

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from compile.folding.engine import eliminate, fold_graph
from compile.graphs.cost import graph_cost
from targets.folding import Rates
from tests.compile.folding.engine_cases import operators
from tests.compile.folding.exact import error, run_float32
from tests.compile.folding.exporting import export_simplified
from tests.compile.folding.foreign import filled

RATES = Rates(element=10.0, operator=100.0, thin=2)
fold = partial(fold_graph, rates=RATES)


class Summed(nn.Module):
    """The sum of what several layers make of one tensor."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(torch.as_tensor(sum(layer(x) for layer in self.layers)))


def folded(module: nn.Module, *shape: int) -> tuple[ir.Model, ir.Model, float]:
    """A module's graph, folded, and how far the outputs are from each other."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    model = export_simplified(filled(module), x, optimize=False)
    made = fold(model)
    feeds = {"x": x.numpy()}
    return model, made, error(run_float32(made, feeds), run_float32(model, feeds))


Case = tuple[Callable[[], nn.Module], tuple[int, ...], int]
CASES: dict[str, Case] = {
    "3×3 and 5×5": (lambda: Summed(nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 5, padding=2)), (4, 9, 9), 1),
    "3×3, 1×3 and 3×1": (
        lambda: Summed(*(nn.Conv2d(4, 6, kernel, padding="same") for kernel in (3, (1, 3), (3, 1)))),
        (4, 9, 9),
        1,
    ),
    "grouped beside identity": (lambda: Summed(nn.Conv2d(6, 6, 3, padding=1, groups=3), nn.Identity()), (6, 9, 9), 1),
    "depthwise beside dense": (
        lambda: Summed(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)),
        (8, 9, 9),
        2,
    ),
    "dilated beside dense": (
        lambda: Summed(nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 3, padding=2, dilation=2)),
        (4, 9, 9),
        2,
    ),
    "along one axis": (lambda: nn.Sequential(nn.Conv1d(4, 6, 3, 2, 1), nn.BatchNorm1d(6), nn.ReLU()), (4, 9), 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_convolutions_of_one_tensor(case: str) -> None:
    make, shape, count = CASES[case]
    _, made, far = folded(make(), 1, *shape)
    assert far < 1e-5
    assert sum(kind in ("Conv", "MatMul") for kind in operators(made)) == count


def test_a_grouped_transposed_convolution_takes_up_a_batch_norm() -> None:
    module = nn.Sequential(nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(4), nn.ReLU())
    model, made, far = folded(module, 1, 6, 5, 5)
    assert far < 1e-5
    assert operators(made) == ["ConvTranspose", "Relu"]
    assert len(operators(model)) == 3


class Filtered(nn.Module):
    """A depthwise filter whose taps each image makes of itself, between two linears; the images are side by side in channels."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.taps, self.up = nn.Linear(6, 4), nn.Linear(4, 36), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        thin = self.down(x)
        taps = torch.tanh(self.taps(thin.mean((1, 2)))).reshape(32, 1, 3, 3)
        channels = thin.permute(0, 3, 1, 2).reshape(1, 32, 7, 7)
        filtered = nn.functional.conv2d(channels, taps, padding=1, groups=32).view(8, 4, 7, 7)
        return torch.relu(self.up(filtered.permute(0, 2, 3, 1)))


@pytest.mark.slow
def test_images_side_by_side_in_channels_are_not_one_matrix() -> None:
    """Eight images of four channels: the linear behind the filter is 4 × 6 and not 32 × 48."""
    model, _, far = folded(Filtered(), 8, 7, 7, 6)
    assert far < 1e-5
    assert graph_cost(eliminate(model, RATES).model).macs == graph_cost(model).macs
