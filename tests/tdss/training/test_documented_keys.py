"""docs/reference/training.md lists every key of a training file with its default, and its example is one that is read."""

import re
from pathlib import Path
from typing import Any, get_args

import tomli_w
import tomllib
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tdss import config as model_config
from tdss.backbones.config import ImageConfig
from tdss.systems import ADAPTERS, BACKBONES, DECODERS
from tdss.training import config as training_config
from tdss.training.config import TrainConfig

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "training.md").read_text(encoding="utf-8")
TABLES: dict[str, type[BaseModel]] = {
    "The run": training_config.TrainConfig,
    "`[data]`": training_config.DataConfig,
    "`[augment]`": training_config.AugmentConfig,
    "`[optimizer]`": training_config.OptimizerConfig,
    "`[losses.TASK]`": training_config.LossConfig,
    "`[model]`": model_config.ModelConfig,
    "`[model.base]`": model_config.BaseConfig,
    "`[model.image]`": ImageConfig,
    **{
        f"`[model.{part}]` of kind {kind}": row.config
        for part, rows in (("backbone", BACKBONES), ("adapter", ADAPTERS), ("decoder", DECODERS))
        for row in rows
        for kind in get_args(row.config.model_fields["kind"].annotation)
    },
}


def documented() -> dict[str, dict[str, str]]:
    """Return the keys of the page's tables with their defaults, by heading."""
    sections = re.split(r"^## (.*)$", PAGE, flags=re.MULTILINE)[1:]
    rows = re.compile(r"^\| `(\w+)` \| (.*?) \|", re.MULTILINE)
    return {heading: dict(rows.findall(text)) for heading, text in zip(sections[::2], sections[1::2], strict=True)}


def models_in(annotation: Any) -> set[type[BaseModel]]:
    """Return the configurations that a type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {found for inner in getattr(annotation, "__args__", ()) for found in models_in(inner)}


def default_of(model: type[BaseModel], key: str) -> str:
    """Write a key's default as the page does."""
    value = model.model_fields[key].default
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "none"
    text = tomli_w.dumps(
        {"x": list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value}
    )
    return f"`{' '.join(text.partition('= ')[2].split()).replace('[ ', '[').replace(', ]', ']')}`"


def test_every_table_has_the_models_keys_and_defaults() -> None:
    expected = {
        heading: {
            key: default_of(model, key) for key, field in model.model_fields.items() if not models_in(field.annotation)
        }
        for heading, model in TABLES.items()
    }
    assert documented() == expected


def test_no_configuration_is_left_out() -> None:
    seen, new = set[type[BaseModel]](), {TrainConfig}
    while new:
        seen |= new
        new = {
            one for model in new for field in model.model_fields.values() for one in models_in(field.annotation)
        } - seen
    assert seen == set(TABLES.values())


def test_the_example_is_read_with_every_default() -> None:
    [example] = re.findall(r"^```toml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    config = TrainConfig.model_validate(tomllib.loads(example))
    assert config.augment == training_config.AugmentConfig() and config.data.spec is None
