"""A small ViT of the ``transformers`` library with LoRA or DoRA of the ``peft`` library: unmerged, and as the library merges it."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tests.compile.folding.exporting import export_simplified
from tests.compile.folding.foreign import Foreign

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2")
SIDE, DIM = 16, 16


class Peft(NamedTuple):
    """What of a ViT is adapted, and how: ``targets`` are names of its linears."""

    targets: tuple[str, ...] = LINEARS
    rank: int = 4
    dora: bool = False


class Features(nn.Module):
    """A model's features as a tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.model(x).last_hidden_state)


def adapted_vit(setup: Peft) -> nn.Module:
    """A ViT of two blocks, every parameter and every matrix of the adapters random."""
    from peft import LoraConfig, get_peft_model
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=DIM,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * DIM,
        image_size=SIDE,
        patch_size=4,
        attn_implementation="eager",
    )
    vit = ViTModel(config, add_pooling_layer=False)
    lora = LoraConfig(
        r=setup.rank,
        lora_alpha=2 * setup.rank,
        target_modules=list(setup.targets),
        use_dora=setup.dora,
        init_lora_weights=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a name that the latter gives up
        model = get_peft_model(vit, lora)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval().requires_grad_(False)


def peft_case(setup: Peft) -> Foreign:
    """The unmerged export, and the one of ``merge_and_unload``."""
    model = adapted_vit(setup)
    merged = deepcopy(model).merge_and_unload()
    x = torch.randn((1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(Features(merged)(x), Features(model)(x), rtol=0, atol=1e-4)
    plain, golden = (export_simplified(Features(one), x) for one in (model, merged))
    return Foreign(plain, {"x": x.numpy()}, golden)


CASES: dict[str, Callable[[], Foreign]] = {
    "LoRA on every linear": lambda: peft_case(Peft()),
    "LoRA on queries and values": lambda: peft_case(Peft(targets=("q_proj", "v_proj"), rank=2)),
    "DoRA on every linear": lambda: peft_case(Peft(dora=True)),
}
