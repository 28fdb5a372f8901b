"""Costs against hand counts and against PyTorch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from compile.folds.cost import count_params, ghost_of, trace_cost
from tdss.config import TdssConfig
from tests.compile.folds.models import make_config, make_image, make_model

CONFIG = make_config(TdssConfig(experts=4, rank=3, gates=(("static", "dynamic"), ("dynamic",))))
SHAPE = make_image(CONFIG).shape


def test_costs_are_those_of_hand_counts() -> None:
    model = make_model(CONFIG)
    trace = trace_cost(model, SHAPE)
    mlp = trace.of(model, ["backbone.stages.0.blocks.0.mlp"])
    assert mlp.macs == 64 * 8 * 16 * 2  # 64 tokens of 8 channels through 16 hidden units
    read_and_written = (64 * 8 + 8 * 16 + 16 + 64 * 16) + 2 * 64 * 16 + (64 * 16 + 16 * 8 + 8 + 64 * 8)
    assert mlp.moved == 4 * read_and_written  # fc1, GELU, fc2
    assert trace.of(model, ["decoders.semseg.head.mix"]).macs == 16 * 8 * 7
    assert count_params(model, ["backbone.stages.0.blocks.0.mlp"]) == 8 * 16 + 16 + 16 * 8 + 8


@pytest.mark.parametrize("patch", [0, 4])
def test_the_total_is_that_of_pytorchs_counter(patch: int) -> None:
    config = make_config(
        TdssConfig(experts=2, rank=3, gates=(("static", "dynamic"),) * 2, tsai="dynamic"), vit_patch=patch
    )
    model, image = make_model(config), make_image(config)[:1]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    assert trace_cost(model, image.shape).total.macs == pytest.approx(counter.get_total_flops() / 2, rel=0.01)


def test_views_move_nothing() -> None:
    class Turn(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.permute(0, 3, 2, 1).flatten(1, 2)[:, :4]

    assert trace_cost(Turn(), (1, 3, 8, 8)).total.moved == 4 * 2 * 3 * 64  # the flatten copies, the rest are views


def test_a_ghost_copies_no_tensor_and_leaves_the_model_alone() -> None:
    model = make_model(CONFIG)
    ghost = ghost_of(model)
    assert {tensor.device.type for tensor in ghost.state_dict().values()} == {"meta"}
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cpu"}
    assert list(ghost.state_dict()) == list(model.state_dict())
