"""The files of a checkpoint by name, and its configuration: what can be read without PyTorch."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from bundle.base.errors import ConfigError
from bundle.base.frozen import faults
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


def make_config(values: Mapping[str, object], path: Path, fix: str = "correct or remove what is named") -> ModelConfig:
    """Make a model's configuration of the keys that are in ``path``; see ``read_config``."""
    try:
        config = ModelConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            "the model's configuration is wrong",
            expected="the keys of tdss/config.py",
            got=faults(error),
            where=str(path),
            fix=fix,
        ) from error
    for name in config.tasks:
        task_row(name)
    return config


def checkpoint_digest(checkpoint: Path) -> str:
    """Return what a manifest calls ``reference.checkpoint_sha256``: half of the sha256 of its configuration and of its weights."""
    files = (checkpoint / CONFIG, checkpoint / WEIGHTS)
    return "-".join(hash_file(path)[:32] if path.is_file() else "missing" for path in files)
