"""The files of a checkpoint by name, and its configuration: what can be read without PyTorch."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from bundle.base.errors import ConfigError
from bundle.base.frozen import faults, fix_of
from bundle.formats.artifacts import hash_file
from bundle.tasks.table import task as task_row
from tdss.config import ModelConfig
from tdss.toml_file import read_toml

CONFIG, WEIGHTS = "config.toml", "model.safetensors"


def read_config(path: Path) -> ModelConfig:
    """Read a model's ``config.toml``.

    Raises:
        ConfigError: the file is missing or cannot be read, is no TOML, has an unknown key, a wrong value or an unknown task.
    """
    values = read_toml(
        path, "the model's configuration", fix="give the folder of a checkpoint: config.toml + model.safetensors"
    )
    return make_config(values, path)


def make_config(values: Mapping[str, object], path: Path, fix: str = "") -> ModelConfig:
    """Make a model's configuration of the keys that are in ``path``; see ``read_config``."""
    try:
        config = ModelConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            "the model's configuration is wrong",
            expected="the keys of tdss/config.py",
            got=faults(error),
            where=str(path),
            fix=fix or fix_of(error),
        ) from error
    for name in config.tasks:
        task_row(name)
    return config


def read_config_at(checkpoint: Path, size: tuple[int, int] | None) -> ModelConfig:
    """Read a checkpoint's configuration, for images of ``size`` (rows, columns); None: those it was trained on.

    Another size than its own is a part of the name.

    Raises:
        ConfigError: it is wrong, or a part of the model cannot take images of this size.
    """
    config = read_config(checkpoint / CONFIG)
    if size is None:
        return config
    image = config.image.model_copy(update={"height": size[0], "width": size[1]})
    name = config.name if image == config.image else f"{config.name}-{size[0]}x{size[1]}"
    try:
        return ModelConfig.model_validate(config.model_dump() | {"name": name, "image": image.model_dump()})
    except ValidationError as error:
        raise ConfigError(
            "the model cannot take images of this size",
            expected="a size that its backbone and decoder take",
            got=faults(error),
            where="--size",
            fix="give another size, a multiple of the patch",
        ) from error


def checkpoint_digest(checkpoint: Path, size: tuple[int, int] | None = None) -> str:
    """Return what a manifest calls ``reference.checkpoint_sha256``: half of the sha256 of its configuration and of its weights.

    With a ``size`` that is not its own it is another reference, and has another digest.
    """
    files = (checkpoint / CONFIG, checkpoint / WEIGHTS)
    digest = "-".join(hash_file(path)[:32] if path.is_file() else "missing" for path in files)
    if size is None or read_config(checkpoint / CONFIG).image == read_config_at(checkpoint, size).image:
        return digest
    return hashlib.sha256(f"{digest} {size[0]}×{size[1]}".encode()).hexdigest()
