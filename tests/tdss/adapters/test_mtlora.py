"""MTLoRA against the parameter counts of the published tables, and against its equations stream by stream."""

import pytest
import torch
from torch.nn import functional

from tdss.adapters.mtlora import TaskBlock
from tdss.backbones.swin import SwinBlock
from tdss.config import HrnetConfig, ImageConfig, ModelConfig, MtloraConfig, SwinConfig
from tdss.model import MultiTaskModel

PASCAL = {"semseg": 21, "human_parts": 7, "saliency": 1, "normals": 3}
TRAINED = ("patch_embed", "norm", "bias_table", "reduction", "update", "shared", "tasks", "decoders")


def swin_t(rank: int) -> ModelConfig:
    return ModelConfig(
        name="mtlora",
        image=ImageConfig(height=448, width=448),
        backbone=SwinConfig(embed_dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
        adapter=MtloraConfig(kind="mtlora", rank=rank),
        decoder=HrnetConfig(hidden=1080, mix_bias=True),
        tasks=PASCAL,
    )


@pytest.mark.parametrize(("rank", "millions"), [(16, 4.953), (32, 6.084), (64, 8.345)])
def test_the_published_parameter_counts(rank: int, millions: float) -> None:
    with torch.device("meta"):
        model = MultiTaskModel(swin_t(rank))
    trained = [
        parameter.numel()
        for name, parameter in model.named_parameters()
        if any(part.startswith(TRAINED) for part in name.split("."))
    ]
    assert round(sum(trained) / 1e6, 3) == millions


def test_the_last_block_is_its_equations() -> None:
    torch.manual_seed(0)
    config = MtloraConfig(kind="mtlora", rank=3, task_rank=2)
    plain = SwinBlock(8, 2, window=4, shifted=True, size=(8, 8), mlp=2.0, drop=0.0).double().eval()
    x = torch.randn(2, 8, 8, 8, dtype=torch.float64)
    block = TaskBlock(plain, config, ("a", "b")).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        shared, tap = block(x)
        attention = block.block.attend(block.block.norm1(x)).chunk(3, -1)
        assert tap.streams is not None
        normed = block.block.norm2(x + attention[0])
        for place, task in enumerate(("a", "b"), 1):
            stream = x + attention[place]
            own = block.block.norm2(stream)
            up1, up2 = block.fc1.tasks[task], block.fc2.tasks[task]
            low1 = 4.0 * own @ up1.down.T @ up1.up.T
            hidden = functional.gelu(block.fc1.linear(normed) + low1)
            hidden_shared = functional.gelu(block.fc1.linear(normed) + block.fc1.shared(normed))
            expected = stream + block.fc2.linear(hidden_shared) + 4.0 * hidden @ up2.down.T @ up2.up.T
            assert torch.allclose(tap.streams[task], expected, rtol=0, atol=1e-12)
    assert not torch.allclose(shared, tap.streams["a"])
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
