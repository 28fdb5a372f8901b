"""How a run starts: the model around its backbone, and which parameters are trained, by patterns of their names.

A pattern is a parameter's name in which ``*`` is any text, as in ``backbone.*norm*``. The run's ``trainable`` decides;
without it everything is trained, or, with ``freeze_backbone``, the adapter, the decoders and what the adapter's
configuration names inside the backbone.
"""

import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from bundle.base.errors import CheckpointError, ConfigError
from bundle.formats.artifacts import hash_file
from tdss import checkpoint
from tdss.checkpoint import BACKBONE as PREFIX
from tdss.config import BaseConfig, ModelConfig
from tdss.config_file import CONFIG, WEIGHTS, read_config
from tdss.linears import matching
from tdss.model import MultiTaskModel, plain_backbone, shapes
from tdss.training import state
from tdss.training.config import TrainConfig

EVERYTHING = ("*",)
BESIDE_THE_BACKBONE = ("adapter.*", "decoders.*")


class Parameters(NamedTuple):
    """How many parameters a model has, and how many of them are trained."""

    total: int
    trained: int


def trained_patterns(config: TrainConfig) -> tuple[str, ...]:
    """Return the patterns of what a run trains."""
    if config.trainable:
        return config.trainable
    return (*BESIDE_THE_BACKBONE, *config.model.adapter.trainable()) if config.freeze_backbone else EVERYTHING


def count_parameters(config: ModelConfig, patterns: tuple[str, ...] | None = None) -> Parameters:
    """Count a model's parameters, and those that ``patterns`` name; by default what its system trains on a frozen backbone."""
    sizes = {name: parameter.numel() for name, parameter in shapes(config).named_parameters()}
    chosen = (*BESIDE_THE_BACKBONE, *config.adapter.trainable()) if patterns is None else patterns
    return Parameters(sum(sizes.values()), sum(sizes[name] for name in matching(tuple(sizes), chosen)))


def build_model(config: TrainConfig) -> MultiTaskModel:
    """Make the model around the backbone of ``init_backbone``, and freeze what is not trained.

    Raises:
        ConfigError: the two backbones differ in more than drop-path, or a pattern names nothing.
        CheckpointError: the checkpoint cannot be read, or an adapter lives in its backbone.
    """
    require_own_backbone(config)
    shapes(config.model)
    backbone = plain_backbone(config.model)
    if config.init_backbone is not None:
        backbone.load_state_dict(_read_backbone(config.model, config.init_backbone))
    model = MultiTaskModel(config.model, backbone)
    names = [name for name, _ in model.named_parameters()]
    if unused := [pattern for pattern in config.trainable if not matching(names, (pattern,))]:
        raise ConfigError(
            "a pattern names no parameter",
            expected="patterns of names as backbone.stages.0.blocks.0.norm1.weight",
            got=", ".join(unused),
            where="trainable",
            fix="correct the pattern; * is any text, dots too",
        )
    trained = matching(names, trained_patterns(config))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    return model


def _read_backbone(model: ModelConfig, folder: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint's plain backbone."""
    source, weights = checkpoint.read(folder)
    wanted = model.backbone.model_copy(update={"drop_path": source.backbone.drop_path})
    if wanted != source.backbone or model.image != source.image:
        raise ConfigError(
            "init_backbone holds another backbone",
            expected=str(model.backbone),
            got=str(source.backbone),
            where=str(folder),
            fix="make [model.backbone] and [model.image] equal to the checkpoint's",
        )
    held = {name.removeprefix(PREFIX): x for name, x in weights.items() if name.startswith(PREFIX)}
    with torch.device("meta"):
        plain = plain_backbone(model).state_dict()
    if foreign := sorted(held.keys() - plain.keys()):
        raise ConfigError(
            "the backbone of init_backbone holds an adapter",
            expected="an adapter beside the backbone, or none",
            got=f"{source.adapter.kind}, with {PREFIX}{foreign[0]}",
            where=str(folder),
            fix="give a checkpoint whose backbone is plain",
        )
    return held


def stored_part(config: TrainConfig, model: MultiTaskModel) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Return what a run's checkpoint holds: its configuration and the tensors that are not those of its base.

    Raises:
        CheckpointError: init_backbone is another one than when the run started.
    """
    tensors, folder = model.state_dict(), config.init_backbone
    if config.stores == "all" or folder is None:
        return model.config, tensors
    names = [name for name, _ in model.named_parameters()]
    frozen = set(names) - matching(names, trained_patterns(config))
    lent = {f"{PREFIX}{name}": tensor for name, tensor in _read_backbone(config.model, folder).items()}
    if changed := [name for name in lent.keys() & frozen if not torch.equal(lent[name], tensors[name])]:
        raise CheckpointError(
            "init_backbone is another one than when this run started",
            expected="the tensors that the run froze",
            got=f"another {min(changed)}",
            where=str(folder),
            fix="put the checkpoint back that was there, or give the run another name",
        )
    path = os.path.relpath(folder.resolve(), (config.folder / "checkpoint").resolve())
    base = BaseConfig(path=Path(path).as_posix(), sha256=hash_file(folder / WEIGHTS))
    held = {name: tensor for name, tensor in tensors.items() if name not in lent.keys() & frozen}
    return model.config.model_copy(update={"base": base}), held


def require_own_backbone(config: TrainConfig) -> None:
    """Do nothing if the checkpoint that a run's checkpoint will name holds its backbone itself.

    Raises:
        ConfigError: it has a base.
    """
    if config.stores == "all" or config.init_backbone is None:
        return
    lent = read_config(config.init_backbone / CONFIG).base
    if lent is not None:
        raise ConfigError(
            "init_backbone does not hold its backbone itself",
            expected='a checkpoint without base: stores = "trained" names its file by hash',
            got=f"a checkpoint whose base is {lent.path}",
            where=str(config.init_backbone),
            fix="give that base, or what tdss join makes of this checkpoint",
        )


def make_optimizer(model: nn.Module, config: TrainConfig) -> AdamW:
    """Return AdamW over what is trained; biases, norms, gate logits and bias tables are not decayed."""
    parameters = state.trainable(model)
    decayed = [p for name, p in parameters.items() if p.ndim > 1 and not name.endswith(("bias_table", "logits"))]
    known = {id(p) for p in decayed}
    free = [p for p in parameters.values() if id(p) not in known]
    groups = [{"params": decayed, "weight_decay": config.optimizer.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return AdamW(groups, lr=config.optimizer.lr)


def set_training(model: MultiTaskModel) -> None:
    """Put the model into training mode; a backbone of which nothing is trained stays in evaluation mode."""
    model.train()
    if not any(parameter.requires_grad for parameter in model.backbone.parameters()):
        model.backbone.eval()


def averaged(model: nn.Module) -> dict[str, Tensor]:
    """Return what the running average follows: the trained parameters and the float buffers of the batch norms."""
    buffers = {name: tensor for name, tensor in model.named_buffers() if name.endswith(("running_mean", "running_var"))}
    return {**state.trainable(model), **buffers}
