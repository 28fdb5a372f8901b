"""The multi-task model: one backbone, one adapter, a decoder per task."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bundle.base.errors import ConfigError
from bundle.base.limits import LIMITS
from tdss.adapters.base import Adapter, NoAdapter
from tdss.adapters.lora import Ssf
from tdss.adapters.mtlora import Mtlora, keep_streams
from tdss.adapters.tdss import Tdss
from tdss.backbones.swin import Swin
from tdss.backbones.vit import Vit
from tdss.config import ModelConfig, MtloraConfig, SsfConfig, TdssConfig, VitConfig, keep_tasks
from tdss.decoders.hrnet import HrnetDecoder


class MultiTaskModel(nn.Module):
    """Maps an image to one raw output per task, in the order of ``config.tasks``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        size = (config.image.height, config.image.width)
        widths = [config.backbone.width(stage) for stage in range(len(config.backbone.depths))]
        self.backbone = _backbone(config)
        self.adapter = _adapter(config, widths, self.backbone)
        if isinstance(config.adapter, MtloraConfig):
            widths = [*widths[1:], widths[-1]]  # the streams are merged
        self.decoders = nn.ModuleDict(
            {task: HrnetDecoder(config.decoder, widths, channels, size) for task, channels in config.tasks.items()}
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map a normalised image ``[batch, 3, height, width]`` to raw outputs ``[batch, channels, height, width]``."""
        features = self.adapter(self.backbone(image))
        return {task: decoder([stage[task] for stage in features]) for task, decoder in self.decoders.items()}

    def keep(self, tasks: Sequence[str]) -> None:
        """Answer ``tasks`` only, in place and in the model's order; every weight that only other tasks need is gone.

        Raises:
            ConfigError: a task is not one of the model's, occurs twice, or there is none.
        """
        self.config = keep_tasks(self.config, tasks)
        kept = tuple(self.config.tasks)
        self.adapter.keep(kept)
        keep_streams(self.backbone, kept)
        self.decoders = nn.ModuleDict({task: self.decoders[task] for task in kept})


def shapes(config: ModelConfig) -> MultiTaskModel:
    """Return the model without memory: its tensors have names, shapes and types, and no values.

    Raises:
        ConfigError: the model is too large to be built.
    """
    with torch.device("meta"):
        model = MultiTaskModel(config)
    numbers = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    limit = LIMITS["parameters"]
    if numbers > limit.most:
        raise ConfigError(
            "the model is too large",
            expected=f"at most {limit.most} {limit.unit}, masks and indices included: {limit.reason}",
            got=str(numbers),
            where="config.toml",
            fix="correct the widths, depths, window and image size",
        )
    return model


def _backbone(config: ModelConfig) -> Swin | Vit:
    if isinstance(config.backbone, VitConfig):
        return Vit(config.backbone, config.image)
    return Swin(config.backbone, config.image)


def _adapter(config: ModelConfig, widths: list[int], backbone: Swin | Vit) -> Adapter:
    if isinstance(config.adapter, TdssConfig):
        return Tdss(config.adapter, tuple(config.tasks), widths)
    if isinstance(config.adapter, MtloraConfig) and isinstance(backbone, Swin):
        return Mtlora(config.adapter, tuple(config.tasks), backbone)
    if isinstance(config.adapter, SsfConfig):
        return Ssf(tuple(config.tasks), backbone)
    return NoAdapter(tuple(config.tasks))
