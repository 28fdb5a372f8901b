"""The one module that reads weights others wrote: published backbones, as safetensors or as a PyTorch file.

A ``.pth`` is read with ``weights_only=True``, which loads tensors and plain containers and refuses any other object.
"""

import pickle
from pathlib import Path

import torch
from torch import Tensor

from bundle.errors import CheckpointError, ConfigError
from tdss import checkpoint
from tdss.backbones.swin_keys import from_published
from tdss.backbones.vit_keys import from_dinov2
from tdss.config import IN_BACKBONE, ModelConfig, VitConfig
from tdss.model import MultiTaskModel, shapes

NESTED = ("model", "state_dict", "model_state", "net")  # where published files keep the weights


def read_foreign(path: Path) -> dict[str, Tensor]:
    """Read a file of weights: safetensors, or a PyTorch file of tensors.

    Raises:
        CheckpointError: the file is missing, holds anything but tensors, or holds none.
    """
    if path.suffix == ".safetensors":
        return checkpoint.read_weights(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise CheckpointError(
            f"the weights {'are missing' if missing else 'cannot be read'}", expected="a file",
            got="no such file" if missing else str(error), where=str(path), fix="correct the path",
        ) from error  # fmt: skip
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            "the weights cannot be read safely", expected="a PyTorch file of tensors only, or safetensors",
            got=str(error).splitlines()[0], where=str(path), fix="save the state_dict alone where the file was made",
        ) from error  # fmt: skip
    for name in NESTED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    tensors = (
        {key: value for key, value in content.items() if isinstance(value, Tensor)} if isinstance(content, dict) else {}
    )
    if not tensors:
        raise CheckpointError(
            "there are no weights in this file", expected="tensors by name", got=type(content).__name__,
            where=str(path), fix="save the state_dict where the file was made",
        )  # fmt: skip
    return checkpoint.widened(tensors)


def import_backbone(weights: Path, config: Path, out: Path, *, seed: int) -> tuple[str, ...]:
    """Write a checkpoint whose backbone is a published one; adapters and decoders are new, drawn from ``seed``.

    ``config`` is a model's config.toml. Returns the keys of the file that were left out (classifier, last norm).

    Raises:
        ConfigError: the configuration is wrong, or its adapter lives inside the backbone.
        CheckpointError: the weights cannot be read, or are of another backbone than the configuration's.
    """
    model_config = checkpoint.read_config(config)
    if model_config.adapter.kind in IN_BACKBONE:
        raise ConfigError(
            f"a published backbone has no place for the adapter {model_config.adapter.kind}",
            expected=f"an adapter that is not {' or '.join(IN_BACKBONE)}: these live inside the backbone",
            got=model_config.adapter.kind, where=str(config), fix='import it with [adapter] kind = "tdss" or "none"',
        )  # fmt: skip
    shapes(model_config)
    state, left = _translate(read_foreign(weights), model_config)
    torch.manual_seed(seed)
    model = MultiTaskModel(model_config)
    checkpoint.match(model.backbone.state_dict(), state, str(weights))
    model.backbone.load_state_dict(state)
    card = checkpoint.Card(
        trained_on=f"backbone from {weights.name}; adapters and decoders are untrained", steps=0, hours=0.0, metrics={}
    )
    checkpoint.save(out, model_config, model, card, storage="float32")
    return left


def _translate(weights: dict[str, Tensor], config: ModelConfig) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    if isinstance(config.backbone, VitConfig):
        patch = config.backbone.patch
        return from_dinov2(weights, config.backbone.depths, (config.image.height // patch, config.image.width // patch))
    return from_published(weights)
