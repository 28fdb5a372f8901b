"""The multi-task model: one backbone, one adapter, the decoders of all tasks."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from bundle.base.errors import ConfigError
from bundle.base.limits import LIMITS
from tdss.adapters.base import Adapter
from tdss.backbones.base import Backbone, StageTap
from tdss.backbones.config import StageShape
from tdss.config import ModelConfig, keep_tasks
from tdss.decoders.base import Decoders, Sizes
from tdss.part import Part
from tdss.systems import class_of


class MultiTaskModel(nn.Module):
    """Maps an image to one raw output per task, in the order of ``config.tasks``."""

    def __init__(self, config: ModelConfig, backbone: Backbone | None = None) -> None:
        """Make a model around a new backbone, or around ``backbone``, whose weights are loaded."""
        super().__init__()
        self.config = config
        self.backbone = plain_backbone(config) if backbone is None else backbone
        plain = [StageShape(config.backbone.width(index), *size) for index, size in enumerate(self.backbone.sizes)]
        self.adapter: Adapter = class_of(config.adapter)(config.adapter, self.backbone, tuple(config.tasks))
        image = (config.image.height, config.image.width)
        sizes = Sizes(config.adapter.shapes(plain, image), config.tasks, image)
        self.decoders: Decoders = class_of(config.decoder)(config.decoder, sizes)

    def forward(self, image: Tensor, taps: Sequence[StageTap] | None = None) -> dict[str, Tensor]:
        """Map a normalised image ``[batch, 3, height, width]`` to raw outputs ``[batch, channels, height, width]``.

        ``taps`` are the backbone's of this image, where it has run before (tdss/training/tap_cache.py). In training mode
        there may be auxiliary outputs beside the others (tdss/decoders/base.py).
        """
        adapter = self.adapter
        features = adapter.features(self.backbone, image) if taps is None else adapter.adapt(taps, image)
        return self.decoders(features)  # type: ignore[no-any-return]

    def parts(self) -> Iterator[tuple[str, Part]]:
        """Yield every part of the model by its path, the adapter and the decoders among them."""
        yield from ((name, module) for name, module in self.named_modules() if isinstance(module, Part))

    def training_state(self) -> dict[str, Tensor]:
        """Return the parts' ``training_state``, each tensor under its part's path."""
        return {f"{path}.{name}": value for path, part in self.parts() for name, value in part.training_state().items()}

    def keep(self, tasks: Sequence[str]) -> None:
        """Answer ``tasks`` only, in place and in the model's order; every weight that only other tasks need is gone.

        Raises:
            ConfigError: a task is not one of the model's, occurs twice, or there is none.
        """
        self.config = keep_tasks(self.config, tasks)
        kept = tuple(self.config.tasks)
        needed = self.decoders.needed(kept)
        for path, part in list(self.parts()):
            if path.partition(".")[0] != "decoders":
                part.keep(needed)
        self.decoders.keep(kept)

    def precompute(self) -> None:
        """Have each part compute once what depends on weights alone, for a model whose weights stay as they are."""
        for _, part in self.parts():
            part.precompute()

    def settle(self) -> None:
        """Drop what only training needs, in place; in evaluation mode the outputs stay the same."""
        self.config = self.config.model_copy(update={"adapter": self.adapter.settle()})


def plain_backbone(config: ModelConfig) -> Backbone:
    """Return the new backbone of a configuration, without an adapter."""
    return class_of(config.backbone)(config.backbone, config.image)  # type: ignore[no-any-return]


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
