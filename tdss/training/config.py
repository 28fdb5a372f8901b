"""One training run as frozen data, read from a TOML file."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import tomllib
from pydantic import Field, ValidationError, model_validator

from bundle.errors import ConfigError
from bundle.frozen import Frozen
from tdss.config import IN_BACKBONE, LONGEST_NAME, ModelConfig

Precision: TypeAlias = Literal["32-true", "bf16-mixed"]  # no FP16: its loss scale is no part of a run's state
Fraction: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Weight: TypeAlias = Annotated[float, Field(ge=0)]
Count: TypeAlias = Annotated[int, Field(gt=0)]


class DataConfig(Frozen):
    """Where the labelled folder lies and where its spec is; relative paths start at the working directory."""

    root: Path
    spec: Path
    train: str = "train"
    validation: str = "val"


class AugmentConfig(Frozen):
    """Random flip, crop-and-resize and colour; every strength 0 (and ``scale`` 1) switches its part off.

    ``scale`` is the smallest side of a crop as a fraction of the image, ``stretch`` the largest relative change
    of its aspect, ``zoom`` the probability that a sample is cropped at all. ``brightness`` shifts, ``contrast``,
    ``saturation`` and ``gain`` (per channel) scale, each by at most that fraction. ``paste`` is the probability that
    a rectangle comes from the next sample of the batch.
    """

    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    zoom: Annotated[float, Field(ge=0, le=1)] = 1.0
    scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    stretch: Fraction = 0.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    gain: Fraction = 0.0
    paste: Annotated[float, Field(ge=0, le=1)] = 0.0


class OptimizerConfig(Frozen):
    """AdamW (Loshchilov and Hutter, ICLR 2019), linear warm-up, cosine to ``final`` × ``lr``, clipped by norm.

    ``ema`` is the decay of the running average of the weights, which is what a run stores; 0 stores the last ones.
    """

    lr: Annotated[float, Field(gt=0)]
    weight_decay: Weight = 0.05
    warmup: Annotated[int, Field(ge=0)] = 0
    final: Fraction = 0.01
    clip: Annotated[float, Field(gt=0)] = 5.0
    ema: Fraction = 0.0


class LossConfig(Frozen):
    """The weight of a task's loss in the sum; ``balance`` weighs a class by frequency to the power −balance.

    ``stride`` takes every n-th row and column of a map with more than one channel, at a random phase.
    """

    weight: Weight = 1.0
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    stride: Count = 1


class TrainConfig(Frozen):
    """A run: what is trained, on what, for how long. ``name`` is its folder below ``runs``.

    Exactly one of ``steps`` and ``minutes`` is given; minutes become steps by timing the first ones.
    ``init_backbone`` is a checkpoint folder whose backbone is loaded; ``freeze_backbone`` keeps it as it is.
    ``baseline_of`` names a finished run that this one is the baseline of: its card gains the comparison.
    """

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=LONGEST_NAME)]
    runs: Path = Path("runs")
    seed: int = 0
    steps: Count | None = None
    minutes: Annotated[float, Field(gt=0)] | None = None
    batch: Count
    precision: Precision = "32-true"
    save_seconds: Annotated[float, Field(ge=0)] = 120.0
    evaluations: Annotated[int, Field(ge=0)] = 5
    evaluation_images: Count = 148
    init_backbone: Path | None = None
    freeze_backbone: bool = False
    baseline_of: Path | None = None
    data: DataConfig
    augment: AugmentConfig
    optimizer: OptimizerConfig
    losses: dict[str, LossConfig]
    model: ModelConfig

    @model_validator(mode="after")
    def _agrees(self) -> "TrainConfig":
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give exactly one of steps and minutes")
        if set(self.losses) != set(self.model.tasks):
            raise ValueError(f"losses are {sorted(self.losses)}, model.tasks are {sorted(self.model.tasks)}")
        kind = self.model.adapter.kind
        if kind in IN_BACKBONE and (self.init_backbone is not None or self.freeze_backbone):
            raise ValueError(
                f"adapter {kind} lives inside the backbone: init_backbone and freeze_backbone take it for a part of that"
            )
        if self.freeze_backbone and self.init_backbone is None:
            raise ValueError("freeze_backbone needs init_backbone: an untrained backbone would stay so")
        return self

    @property
    def folder(self) -> Path:
        """The folder of this run's log, last state and checkpoint."""
        return self.runs / self.name


def read(path: Path) -> TrainConfig:
    """Read a run from a TOML file.

    Raises:
        ConfigError: the file is missing, no TOML, or a key or a value is wrong; each one is named.
    """
    try:
        return TrainConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise _refuse(path, "this training config cannot be read", "a TOML file", str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _refuse(path, "this training config is no TOML", "TOML 1.0", str(error)) from error
    except ValidationError as error:
        got = "; ".join(f"{'.'.join(map(str, line['loc'])) or 'config'}: {line['msg']}" for line in error.errors())
        raise _refuse(path, "this training config is wrong", "the keys of tdss/training/config.py", got) from error


def _refuse(path: Path, message: str, expected: str, got: str) -> ConfigError:
    return ConfigError(message, expected=expected, got=got, where=str(path), fix="correct the file")
