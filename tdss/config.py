"""What a checkpoint is made of: the frozen configuration read from its ``config.toml``."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, Union

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from bundle.base.frozen import Frozen
from bundle.base.limits import LIMITS, Channels, Name
from bundle.tasks.table import find_task
from tdss.adapters.config import AdapterConfig
from tdss.backbones.config import BackboneConfig, ImageConfig, kind_or
from tdss.decoders.config import DecoderConfig
from tdss.systems import ADAPTERS, BACKBONES, DECODERS, System
from tdss.task_names import require_known

if TYPE_CHECKING:
    AnyBackbone: TypeAlias = BackboneConfig
    AnyAdapter: TypeAlias = AdapterConfig
    AnyDecoder: TypeAlias = DecoderConfig
else:

    def _any_of(rows: tuple[System, ...], default: str) -> object:
        """Return the union of a table's configurations; ``kind`` may be left out for the ``default``."""
        tagged = [Annotated[row.config, Tag(kind)] for row in rows for kind in _kinds(row)]
        return Annotated[Union[tuple(tagged)], Discriminator(kind_or(default))]  # noqa: UP007

    def _kinds(row: System) -> tuple[str, ...]:
        return row.config.model_fields["kind"].annotation.__args__

    AnyBackbone = _any_of(BACKBONES, "swin")
    AnyAdapter = Annotated[Union[tuple(row.config for row in ADAPTERS)], Field(discriminator="kind")]  # noqa: UP007
    AnyDecoder = _any_of(DECODERS, "hrnet")


class BaseConfig(Frozen):
    """The checkpoint that holds the backbone's other tensors: its folder, and the sha256 of its ``model.safetensors``.

    ``path`` is relative to the folder of the checkpoint that names it, as in ``"../default"``. ``made_by`` is the command
    that puts it there, in words for a person; nothing runs it.
    """

    path: Annotated[str, Field(max_length=LIMITS["path_bytes"].most, pattern=r"^[^\x00-\x1f\\]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    made_by: Annotated[str, Field(max_length=LIMITS["name"].most, pattern=r"^[\x20-\x7e]*$")] = ""

    @field_validator("path")
    @classmethod
    def _is_relative(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        climbs = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
        if path.startswith("/") or ".." in parts[climbs:]:
            raise ValueError("a path from the checkpoint's folder, with .. at its start only")
        return path


class ModelConfig(Frozen):
    """A multi-task model. ``tasks`` maps each task of bundle/tasks/table.py to its output channels, in output order.

    Version 2 names the linears that MTLoRA and SSF adapt as the published backbone does (tdss/checkpoint.py reads both).
    With ``base`` a checkpoint holds what was trained only.
    """

    schema_version: Literal[1, 2] = 2
    name: Name
    image: ImageConfig
    backbone: AnyBackbone
    adapter: AnyAdapter
    decoder: AnyDecoder
    tasks: Annotated[dict[str, Channels], Field(min_length=1)]
    base: BaseConfig | None = None

    @model_validator(mode="after")
    def _parts_agree(self) -> "ModelConfig":
        maps = self.adapter.maps(len(self.backbone.depths))
        for fault in (self.adapter.fault(self.backbone), self.backbone.fault(self.image), self.decoder.fault(maps)):
            if fault:
                raise ValueError(fault)
        self._check_channels()
        return self

    def _check_channels(self) -> None:
        """Refuse a task whose metric cannot take the channels; a name that is no task is refused by ``bundle.tasks.table.task``."""
        for name, channels in self.tasks.items():
            row = find_task(name)
            if row is not None and (channels < 2 if row.channels is None else channels != row.channels):
                wanted = "at least 2" if row.channels is None else str(row.channels)
                raise ValueError(f"tasks.{name} has {channels} channels, and needs {wanted}")


def keep_tasks(config: ModelConfig, tasks: Sequence[str]) -> ModelConfig:
    """Return the configuration of a model that answers ``tasks`` only, in its own order; its name tells which.

    Raises:
        ConfigError: a task is not one of the model's, occurs twice, or there is none.
    """
    names = require_known(tuple(config.tasks), tasks)
    kept = {task: config.tasks[task] for task in names}
    name = config.name if len(kept) == len(config.tasks) else "-".join([config.name, *kept])
    return config.model_copy(update={"tasks": kept, "name": name})
