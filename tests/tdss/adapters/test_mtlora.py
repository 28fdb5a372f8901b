"""MTLoRA against the parameter counts of the published tables, and against its equations stream by stream."""

import pytest
import torch
from torch.nn import functional

from tdss.adapters.config import MtloraConfig
from tdss.adapters.lora import LoraLinear
from tdss.adapters.mtlora import TaskBlock, TaskLinear
from tdss.backbones.base import Flow
from tdss.backbones.config import ImageConfig, SwinConfig
from tdss.backbones.swin import SwinBlock
from tdss.config import ModelConfig
from tdss.decoders.config import HrnetConfig
from tdss.model import MultiTaskModel
from tdss.training.start import count_parameters

PASCAL = {"semseg": 21, "human_parts": 7, "saliency": 1, "normals": 3}


def swin_t(rank: int) -> ModelConfig:
    return ModelConfig(
        name="mtlora",
        image=ImageConfig(height=448, width=448),
        backbone=SwinConfig(embed_dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
        adapter=MtloraConfig(kind="mtlora", rank=rank),
        decoder=HrnetConfig(hidden=1080, mix_bias=True),
        tasks=PASCAL,
    )


@pytest.mark.parametrize(("rank", "trained"), [(16, 4_953_146), (32, 6_083_642), (64, 8_344_634)])
def test_the_released_parameter_counts(rank: int, trained: int) -> None:
    assert count_parameters(swin_t(rank)).trained == trained


@pytest.mark.parametrize(("rank", "trained"), [(16, 3_469_370), (64, 7_054_394)])
def test_the_parameter_counts_with_the_reductions_adapted(rank: int, trained: int) -> None:
    plus = MtloraConfig(kind="mtlora", rank=rank, reduction=True)
    assert count_parameters(swin_t(rank).model_copy(update={"adapter": plus})).trained == trained


def test_the_last_block_is_its_equations() -> None:
    torch.manual_seed(0)
    config = MtloraConfig(kind="mtlora", rank=3, task_rank=2)
    plain = SwinBlock(8, 2, window=4, shifted=True, size=(8, 8), mlp=2.0, drop=0.0).double().eval()
    x = torch.randn(2, 8, 8, 8, dtype=torch.float64)
    block = TaskBlock(
        plain, lambda linear: LoraLinear(linear, 3, 4.0), lambda linear: TaskLinear(linear, config, ("a", "b"))
    ).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        flow, tap = block(Flow(x, {}))
        attention = block.attend(block.norm1(x)).chunk(3, -1)
        assert tap.streams is not None
        normed = block.norm2(x + attention[0])
        fc1, fc2 = block.mlp.fc1, block.mlp.fc2
        for index, task in enumerate(("a", "b"), 1):
            stream = x + attention[index]
            own = block.norm2(stream)
            up1, up2 = fc1.tasks[task], fc2.tasks[task]
            low1 = 4.0 * own @ up1.down.T @ up1.up.T
            hidden = functional.gelu(functional.linear(normed, fc1.weight, fc1.bias) + low1)
            shared = functional.gelu(functional.linear(normed, fc1.weight, fc1.bias) + fc1.shared(normed))
            low2 = 4.0 * hidden @ up2.down.T @ up2.up.T
            expected = stream + functional.linear(shared, fc2.weight, fc2.bias) + low2
            assert torch.allclose(tap.streams[task], expected, rtol=0, atol=1e-12)
    assert not torch.allclose(flow.x, tap.streams["a"])
    assert torch.equal(tap.mlp, normed)


def test_tasks_that_are_not_kept_leave_no_update() -> None:
    config = swin_t(4).model_copy(
        update={
            "image": ImageConfig(height=64, width=64),
            "backbone": SwinConfig(embed_dim=8, depths=(1, 2), heads=(1, 2), window=4),
            "decoder": HrnetConfig(widths=(3, 5), hidden=7),
        }
    )
    model, image = MultiTaskModel(config).eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(image)
        model.keep(("normals",))
        after = model(image)
    assert list(after) == ["normals"] and torch.equal(after["normals"], before["normals"])
    assert not [name for name in model.state_dict() if "semseg" in name]
