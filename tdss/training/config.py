"""One training run as frozen data, read from a TOML file; docs/reference/training.md lists every key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationError, model_validator

from bundle.base.errors import ConfigError
from bundle.base.frozen import Frozen, faults, fix_of
from bundle.base.limits import LIMITS, Batch, Count, CountOrNone, Name, NotNegative, Positive, Seed, Small, SplitName
from tdss.config import ModelConfig
from tdss.toml_file import read_toml

Precision: TypeAlias = Literal["32-true", "bf16-mixed"]  # no FP16: its loss scale is no part of a run's state
Pattern: TypeAlias = Annotated[str, Field(min_length=1, max_length=LIMITS["path_bytes"].most)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


EXTENDS = "extends"
KIND = "kind"


class DataConfig(Frozen):
    """The labelled folder and its spec; relative paths start at the working directory."""

    root: Path
    spec: Path | None = None  # None: dataset.json in the folder
    train: SplitName = "train"
    validation: SplitName = "val"


class AugmentConfig(Frozen):
    """Random flip, crop-and-resize and colour; every strength 0 (and ``scale`` 1) switches its part off.

    ``scale`` is the smallest side of a crop as a fraction of the image, ``stretch`` the largest relative change
    of its aspect. ``zoom`` is the probability that a sample is cropped at all. ``brightness`` shifts, ``contrast``,
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

    @property
    def flips_only(self) -> bool:
        """Whether an image is at most mirrored."""
        return self == AugmentConfig(flip=self.flip, zoom=self.zoom)


class OptimizerConfig(Frozen):
    """AdamW (Loshchilov and Hutter, ICLR 2019), linear warm-up, cosine to ``final`` × ``lr``, clipped by norm.

    ``ema`` is the decay of the running average of the weights, which is what a run stores; 0 stores the last ones.
    """

    lr: Positive
    weight_decay: NotNegative = 0.05
    warmup: CountOrNone = 0
    final: Fraction = 0.01
    clip: Positive = 5.0
    ema: Fraction = 0.0


class LossConfig(Frozen):
    """The weight of a task's loss in the sum; ``balance`` weighs a class by frequency to the power −balance.

    ``stride`` takes every n-th row and column of a map with more than one channel, at a random phase. ``auxiliary`` is the
    factor of the task's auxiliary outputs, where the decoder gives some.
    """

    weight: NotNegative = 1.0
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    stride: Small = 1
    auxiliary: NotNegative = 1.0


class TrainConfig(Frozen):
    """A run: what is trained, on what, for how long. ``name`` is its folder below ``runs``.

    Exactly one of ``steps`` and ``minutes`` is given; minutes become steps by timing the first ones.
    ``init_backbone`` is a checkpoint folder whose backbone is loaded. ``freeze_backbone`` keeps it as it is, but for
    what its adapter trains inside it. ``trainable`` names the trained parameters itself, by patterns. ``stores`` "trained"
    leaves out of the checkpoint what is as in ``init_backbone``, and names that by its hash. ``cache_taps`` is a folder for
    the frozen backbone's taps (tdss/training/tap_cache.py).
    ``baseline_of`` names a finished run that this one is the baseline of: its card gains the comparison.
    """

    schema_version: Literal[1] = 1
    name: Name
    runs: Path = Path("runs")
    seed: Seed = 0
    steps: Count | None = None
    minutes: Positive | None = None
    batch: Batch
    precision: Precision = "32-true"
    save_seconds: NotNegative = 120.0
    evaluations: CountOrNone = 5
    evaluation_images: Count = 148
    init_backbone: Path | None = None
    freeze_backbone: bool = False
    trainable: tuple[Pattern, ...] = ()
    stores: Literal["all", "trained"] = "all"
    cache_taps: Path | None = None
    baseline_of: Path | None = None
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig
    losses: dict[str, LossConfig]
    model: ModelConfig

    @model_validator(mode="after")
    def _agrees(self) -> "TrainConfig":
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give exactly one of steps and minutes")
        losses, tasks = set(self.losses), set(self.model.tasks)
        add = [f"add [losses.{name}], for model.tasks holds it" for name in sorted(tasks - losses)]
        remove = [f"remove [losses.{name}], for model.tasks lacks it" for name in sorted(losses - tasks)]
        if losses != tasks:
            raise ValueError("; ".join([*add, *remove]))
        if self.init_backbone is None and (self.freeze_backbone or self.stores == "trained"):
            raise ValueError('freeze_backbone and stores = "trained" need init_backbone: the backbone they keep')
        if self.freeze_backbone and self.trainable:
            raise ValueError("give freeze_backbone or trainable: the patterns say what is trained of the backbone too")
        if self.cache_taps is not None:
            if not self.freeze_backbone or self.model.adapter.reads() is None:
                raise ValueError("cache_taps needs freeze_backbone and an adapter beside the backbone: tdss or none")
            if not self.augment.flips_only:
                raise ValueError("cache_taps needs an augmentation by flips only: scale 1, the others 0")
        if self.model.base is not None:
            raise ValueError("model.base is written by a run; give init_backbone")
        return self

    @property
    def folder(self) -> Path:
        """The folder of this run's log, last state and checkpoint."""
        return self.runs / self.name


def read(path: Path) -> TrainConfig:
    """Read a run from a TOML file, whose ``extends`` names another one that it differs from.

    Raises:
        ConfigError: a file is missing, no TOML, or a key or a value is wrong; each one is named.
    """
    values = read_toml(path, "this training config")
    base = values.get(EXTENDS)
    if isinstance(base, str):
        del values[EXTENDS]
        values = _over(read_toml(path.parent / base, "the training config that this one extends"), values)
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            "this training config is wrong",
            expected="the keys that docs/reference/training.md lists",
            got=faults(error),
            where=str(path),
            fix=fix_of(error),
        ) from error


def _over(base: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """Return the values of ``base`` with those of ``own`` over them, table by table; one that gives its kind is taken as it is."""
    merged = dict(base)
    for key, value in own.items():
        known = base.get(key)
        if isinstance(known, dict) and isinstance(value, dict) and KIND not in value:
            value = _over(known, value)
        merged[key] = value
    return merged
