"""What ``devices.toml`` says: where each device is, who logs in there, and how its half is run."""

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field, ValidationError, field_validator, model_validator

from bundle.base.arguments import Parser
from bundle.base.errors import ConfigError, InputError
from bundle.base.frozen import Frozen, faults, fix_of
from bundle.base.limits import LIMITS, Name
from targets.__main__ import add_arguments
from tdss.toml_file import read_toml

OURS = (
    "send",
    "json",
    "key",
    "target",
    "model_cache",
)  # options of judging that tdss fleet gives, or that name other files
Word: TypeAlias = Annotated[str, Field(pattern=r"^[^\x00-\x20~-][^\x00-\x20]*$", max_length=255)]
RemotePath: TypeAlias = Annotated[str, Field(pattern=r"^[^\x00-\x1f~-][^\x00-\x1f]*$", max_length=255)]
LocalPath: TypeAlias = Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$", max_length=1024)]


class Device(Frozen):
    """One device: its address, the user and the key, the Python and the folder there, and the options of its half.

    ``python`` and ``folder`` are relative to the user's home there. ``judge`` are words of ``tdss-runtime.pyz judge``.
    The device has ``time_limit_s`` seconds for everything: to be reached, to receive, to judge and to send back.
    """

    host: Word
    target: Name
    user: Word
    key: LocalPath
    port: Annotated[int, Field(strict=True, ge=1, le=65_535)] = 22
    python: RemotePath = "python3"
    folder: RemotePath = "tdss-fleet"
    judge: tuple[str, ...] = ()
    time_limit_s: Annotated[int, Field(strict=True, ge=1, le=LIMITS["seconds"].most)] = 3600

    @field_validator("judge")
    @classmethod
    def _are_options_of_judging(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        parser = Parser(prog="judge", add_help=False)
        add_arguments(parser)
        nothing = vars(parser.parse_args(["bundle.zip"]))
        try:
            given = vars(parser.parse_args(["bundle.zip", *words]))
        except InputError as error:
            raise ValueError(error.got) from error
        ours = [name for name in OURS if given[name] != nothing[name]]
        if ours:
            raise ValueError(f"--{ours[0].replace('_', '-')} is not for a fleet")
        return words


class Fleet(Frozen):
    """The devices by name, the file of their host keys, and how many are busy at once; ``[defaults]`` holds for each device."""

    known_hosts: LocalPath
    parallel: Annotated[int, Field(strict=True, ge=1, le=LIMITS["processes"].most)] = 8
    devices: Annotated[dict[Name, Device], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, values: object) -> object:
        if not isinstance(values, dict) or not isinstance(values.get("devices"), dict):
            return values
        defaults = values.get("defaults", {})
        if not isinstance(defaults, dict):
            raise ValueError("defaults: expected a table")
        devices = {
            name: {**defaults, **device} if isinstance(device, dict) else device
            for name, device in values["devices"].items()
        }
        return {name: value for name, value in values.items() if name != "defaults"} | {"devices": devices}


def read_fleet(path: Path) -> Fleet:
    """Read ``devices.toml``; its paths are relative to its folder, and ``~`` is the home of whoever runs the command.

    Raises:
        ConfigError: it is missing, no TOML, or one of its keys or values is wrong.
        InputError: it is too large.
    """
    values = read_toml(path, "the list of devices")
    try:
        fleet = Fleet.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            "the list of devices is wrong",
            expected="the keys and values of docs/guides/fleet.md",
            got=faults(error),
            where=str(path),
            fix=fix_of(error),
        ) from error
    devices = {name: one.model_copy(update={"key": str(_local(path, one.key))}) for name, one in fleet.devices.items()}
    return fleet.model_copy(update={"known_hosts": str(_local(path, fleet.known_hosts)), "devices": devices})


def only(fleet: Fleet, names: list[str], where: Path) -> Fleet:
    """Return the fleet with the devices of these names only; with no name, all.

    Raises:
        InputError: there is no device of such a name.
    """
    for name in names:
        if name not in fleet.devices:
            raise InputError(
                f"there is no device {name!r}",
                expected=f"one of {', '.join(fleet.devices)}",
                got=repr(name),
                where=str(where),
                fix="correct --only",
            )
    kept = {name: one for name, one in fleet.devices.items() if not names or name in names}
    return fleet.model_copy(update={"devices": kept})


def _local(path: Path, name: str) -> Path:
    return path.parent / Path(name).expanduser()
