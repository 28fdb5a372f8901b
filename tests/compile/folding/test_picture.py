"""A picture shows one module before and after: what elimination took away is in the first only."""

import pytest
import torch
from torch import Tensor, nn

from compile.folding.engine import eliminate
from compile.folding.picture import picture
from targets.folding import Rates
from tests.compile.folding.exporting import export_simplified

RATES = Rates(element=1.0, operator=300.0, thin=192)  # for small graphs


class Branches(nn.Module):
    """A linear, and beside it one of rank 15 for each of three tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)
        self.down = nn.ModuleList(nn.Linear(16, 15) for _ in range(3))
        self.up = nn.ModuleList(nn.Linear(15, 16) for _ in range(3))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.linear(x) + up(down(x)) for down, up in zip(self.down, self.up, strict=True)]


class Host(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branches = Branches()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(one.relu() for one in self.branches(x.relu()))


@pytest.mark.slow
def test_branches_of_low_rank_are_in_the_first_picture_only() -> None:
    found = eliminate(export_simplified(Host(), torch.randn(1, 50, 16)), RATES)
    drawn = picture(found.network, found.found.kept, {"branches": 1})
    assert drawn is not None and drawn.scope == "branches"
    narrow = [box for box in drawn.before.boxes if box.channels == 15]
    assert {box.count for box in narrow} == {3}
    assert {box.channels for box in drawn.after.boxes} == {16}
    assert {(source, target) for source, target, _ in drawn.after.arrows} == {(0, 1)}


@pytest.mark.slow
def test_where_nothing_is_saved_nothing_is_drawn() -> None:
    found = eliminate(export_simplified(Host(), torch.randn(1, 50, 16)), RATES)
    assert picture(found.network, found.found.kept, {"branches": 0}) is None
