"""What a sweep builds: every model for every target, in every variant of the settings, with every seed."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, JsonValue, ValidationError

from bundle.base.errors import ConfigError
from bundle.base.frozen import Frozen, faults, fix_of
from bundle.base.limits import Name, Seed
from compile.stage.config import BuildConfig, validated
from tdss.toml_file import read_toml

UNITS = "units"
OWN = ("target", "seed", "out", "store", "machine", "sign")
"""Keys of a build that the sweep gives, or that no sweep has."""


class SweepConfig(Frozen):
    """One sweep. A table of ``models`` or ``variants`` has keys of a build; ``build`` has those of all."""

    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    models: Annotated[dict[Name, dict[str, JsonValue]], Field(min_length=1)]
    variants: Annotated[dict[Name, dict[str, JsonValue]], Field(min_length=1)] = Field(
        default_factory=lambda: {"plain": dict[str, JsonValue]()}
    )
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    build: dict[str, JsonValue] = Field(default_factory=dict)
    out: Path = Path("build/sweep")
    store: str = ""  # of stages and results: a folder or an fsspec URL; "": OUT/.store


class Unit(NamedTuple):
    """One build: its name, model/target/variant/seed, and its configuration, with absolute paths."""

    name: str
    config: BuildConfig


def read_sweep(path: Path) -> SweepConfig:
    """Read a sweep's file.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not one a sweep knows.
    """
    values = read_toml(path, "the sweep's file")
    try:
        return SweepConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            "this is no sweep",
            expected=f"keys {', '.join(SweepConfig.model_fields)}",
            got=faults(error),
            where=str(path),
            fix=fix_of(error),
        ) from error


def units_of(sweep: SweepConfig, where: Path) -> tuple[Unit, ...]:
    """Return the units in their order.

    Raises:
        ConfigError: a table has a key that a build does not know, or that the sweep gives itself.
    """
    for name, table in {"build": sweep.build, **sweep.models, **sweep.variants}.items():
        own = sorted({*table} & {*OWN})
        if own:
            raise ConfigError(
                f"{own[0]} is no key of a table of a sweep",
                expected=f"any other key of a build than {', '.join(OWN)}",
                got=own[0],
                where=f"{where}, {name}",
                fix="write targets, seeds, out and store at the top of the file; sign a bundle with tdss bundle sign",
            )
    axes = product(sweep.models, sweep.targets, sweep.variants, dict.fromkeys(sweep.seeds))
    return tuple(_unit(sweep, where, *names) for names in axes)


def _unit(sweep: SweepConfig, where: Path, model: str, target: str, variant: str, seed: int) -> Unit:
    name, out = f"{model}/{target}/{variant}/{seed}", sweep.out.resolve()
    values: dict[str, object] = {}
    for table in (sweep.build, sweep.models[model], sweep.variants[variant]):
        _add(values, table)
    store = sweep.store if "://" in sweep.store else str(Path(sweep.store or out / ".store").resolve())
    values |= {"target": target, "seed": seed, "out": out / UNITS / name, "store": store}
    config = validated(values, f"{where}, {name}")
    unused = "checkpoint" if config.network is not None else ""
    paths = {key: value.resolve() for key, value in config if isinstance(value, Path) and key != unused}
    return Unit(name, config.model_copy(update=paths))


def _add(values: dict[str, object], table: Mapping[str, JsonValue]) -> None:
    """Put a table's keys over ``values``, a table in it key by key."""
    for key, value in table.items():
        before = values.get(key)
        values[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
