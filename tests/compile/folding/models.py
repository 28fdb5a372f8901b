"""Small models with weights that no fold can get right by accident: nothing is zero, one or shared."""

import torch
from hypothesis import strategies
from torch import nn

from tdss.adapters.config import MtloraConfig, NoAdapterConfig, SsfConfig, TdssConfig
from tdss.backbones.config import ImageConfig, SwinConfig, VitConfig
from tdss.config import ModelConfig
from tdss.decoders.config import HrnetConfig
from tdss.model import MultiTaskModel

TASKS = {"semseg": 5, "human_parts": 3, "saliency": 1, "normals": 3, "depth": 1, "edge": 1}


def make_config(
    adapter: TdssConfig,
    *,
    size: int = 32,
    tasks: tuple[str, ...] = tuple(TASKS),
    mix_bias: bool = False,
    vit_patch: int = 0,
) -> ModelConfig:
    """A two-stage model of a few thousand parameters: a Swin with windows of 4 at H/4 and H/8, or a ViT."""
    depths = tuple(len(gates) for gates in adapter.gates)
    swin = SwinConfig(embed_dim=8, depths=depths, heads=(2, 4), window=4, mlp_ratio=2)
    vit = VitConfig(kind="vit", dim=8, depths=depths, heads=2, patch=vit_patch or 4, mlp_ratio=2)
    return ModelConfig(
        name="small",
        image=ImageConfig(height=size, width=size),
        backbone=vit if vit_patch else swin,
        adapter=adapter,
        decoder=HrnetConfig(widths=(3, 5), hidden=7, mix_bias=mix_bias),
        tasks={task: TASKS[task] for task in tasks},
    )


def adapted(adapter: MtloraConfig | SsfConfig | NoAdapterConfig, **options: object) -> ModelConfig:
    """The same with another adapter; stages of two blocks and one."""
    depths = TdssConfig(experts=1, rank=1, gates=(("static", "static"), ("static",)))
    plain = make_config(depths, **options)  # type: ignore[arg-type]
    return ModelConfig.model_validate(plain.model_dump() | {"adapter": adapter.model_dump()})


def make_model(config: ModelConfig, seed: int = 0) -> MultiTaskModel:
    """A float64 model in evaluation mode, every parameter and statistic random."""
    generator = torch.Generator().manual_seed(seed)
    model = MultiTaskModel(config).double().eval()
    for parameter in model.parameters():
        fan = parameter.shape[-1] if parameter.dim() > 1 else 4
        nn.init.normal_(parameter, std=fan**-0.5, generator=generator)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, generator=generator)
            nn.init.uniform_(module.running_var, 0.5, 2.0, generator=generator)
    return model


def make_image(config: ModelConfig, seed: int = 1) -> torch.Tensor:
    """Two random float64 images."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((2, 3, config.image.height, config.image.width), dtype=torch.float64, generator=generator)


gate = strategies.sampled_from(["static", "dynamic"])
stage = strategies.lists(gate, min_size=1, max_size=3).map(tuple)
adapters = strategies.builds(
    TdssConfig,
    experts=strategies.integers(1, 5),
    rank=strategies.integers(1, 5),
    gates=strategies.tuples(stage, stage),
    activation=strategies.sampled_from(["none", "relu", "gelu"]),
    top_k=strategies.integers(0, 3),
    insertion=strategies.sampled_from(["mlp", "attention", "both"]),
    tsai=strategies.sampled_from(["off", "static", "dynamic"]),
    temperature=strategies.floats(0.5, 2),
    alpha=strategies.floats(0.25, 4),
)
subsets = strategies.lists(strategies.sampled_from(list(TASKS)), min_size=1, max_size=6, unique=True).map(tuple)
swins = strategies.builds(
    make_config, adapters, size=strategies.sampled_from([24, 32, 40, 44]), tasks=subsets, mix_bias=strategies.booleans()
)  # 24, 40, 44: padded windows; 44: an odd map that the decoder cannot halve
vits = strategies.builds(
    make_config,
    adapters,
    size=strategies.sampled_from([16, 40]),
    tasks=subsets,
    vit_patch=strategies.sampled_from([4, 8]),
)
configs = swins | vits
mtloras = strategies.builds(
    adapted,
    strategies.builds(
        MtloraConfig,
        kind=strategies.just("mtlora"),
        rank=strategies.integers(1, 4),
        task_rank=strategies.integers(1, 3),
        scale=strategies.floats(0.5, 4),
        reduction=strategies.booleans(),
    ),
    tasks=subsets,
    size=strategies.sampled_from([24, 32, 44]),
)


def outputs(model: MultiTaskModel, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Run a model without gradients."""
    with torch.no_grad():
        result: dict[str, torch.Tensor] = model(image)
    return result


def relative(reference: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest relative difference of any output that ``other`` has."""
    return max(float((got - reference[task]).abs().max() / reference[task].abs().max()) for task, got in other.items())
