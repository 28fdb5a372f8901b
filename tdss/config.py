"""What a checkpoint is made of: the frozen configuration read from its ``config.toml``."""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator

from bundle.base.errors import ConfigError
from bundle.base.frozen import Frozen
from bundle.base.limits import LIMITS, Blocks, Channels, Experts, Name, Positive, Ratio, Real, Side, Small, Width
from bundle.tasks.preprocess import Deviation, Mean
from bundle.tasks.table import TASKS

Gate: TypeAlias = Literal["static", "dynamic"]
STAGES = LIMITS["stages"].most
Depths: TypeAlias = Annotated[tuple[Blocks, ...], Field(min_length=1, max_length=STAGES)]


class ImageConfig(Frozen):
    """The image a model takes: RGB, ``height`` × ``width`` pixels, normalised as (x/255 − mean)/std."""

    height: Side
    width: Side
    mean: Mean = (0.485, 0.456, 0.406)
    std: Deviation = (0.229, 0.224, 0.225)


class SwinConfig(Frozen):
    """A Swin transformer (Liu et al., ICCV 2021) without its classifier."""

    kind: Literal["swin"] = "swin"
    embed_dim: Width
    depths: Depths
    heads: Annotated[tuple[Small, ...], Field(min_length=1, max_length=STAGES)]
    window: Small = 7
    mlp_ratio: Ratio = 4.0
    patch: Small = 4
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _stages_agree(self) -> "SwinConfig":
        if len(self.depths) != len(self.heads):
            raise ValueError(f"depths has {len(self.depths)} stages, heads has {len(self.heads)}")
        if (widest := self.width(len(self.depths) - 1)) > LIMITS["width"].most:
            raise ValueError(f"the last stage has {widest} channels, more than {LIMITS['width'].most}")
        for stage, heads in enumerate(self.heads):
            if self.width(stage) % heads:
                raise ValueError(f"stage {stage}: width {self.width(stage)} is not a multiple of {heads} heads")
        return self

    def width(self, stage: int) -> int:
        """Channels of a stage's output."""
        return int(self.embed_dim * 2**stage)


class VitConfig(Frozen):
    """A vision transformer as DINOv2 uses it; its blocks are grouped into stages of ``depths`` blocks, all of one width."""

    kind: Literal["vit"]
    dim: Width
    depths: Depths
    heads: Small
    patch: Small = 14
    mlp_ratio: Ratio = 4.0
    norm_eps: Positive = 1e-6
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _heads_divide(self) -> "VitConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of {self.heads} heads")
        return self

    def width(self, stage: int) -> int:
        """Channels of a stage's output: the same in every stage."""
        return self.dim


class TdssConfig(Frozen):
    """TDSS adapters; every equation is in ``tdss/adapters/tdss.py``, each choice a switch.

    ``gates`` holds one list per stage with one gate kind per block.
    ``top_k`` = 0 keeps every skill; otherwise only the k largest gate values of each task stay.
    """

    kind: Literal["tdss"] = "tdss"
    experts: Experts
    rank: Small
    gates: tuple[tuple[Gate, ...], ...]
    activation: Literal["none", "relu", "gelu"] = "gelu"
    top_k: Annotated[int, Field(ge=0, le=LIMITS["small_integer"].most)] = 0
    insertion: Literal["mlp", "attention", "both"] = "mlp"
    tsai: Literal["off", "static", "dynamic"] = "static"
    temperature: Positive = 1.0
    alpha: Real = 1.0


class MtloraConfig(Frozen):
    """MTLoRA (tdss/adapters/mtlora.py): low-rank updates of a Swin, ``task_rank`` for each task in last blocks.

    ``reduction`` adapts PatchMerging's reduction too (MTLoRA+).
    """

    kind: Literal["mtlora"]
    rank: Small
    task_rank: Small = 4
    scale: Real = 4.0
    reduction: bool = False


class SsfConfig(Frozen):
    """SSF (tdss/adapters/lora.py): a gain and a shift after every linear of every block, shared by all tasks."""

    kind: Literal["ssf"]


IN_BACKBONE = ("mtlora", "ssf")
"""The kinds of adapter that live inside the backbone's modules: its tensors are not a published backbone's."""


class NoAdapterConfig(Frozen):
    """No adapter: every task reads the frozen backbone's stages. The baseline."""

    kind: Literal["none"] = "none"


class HrnetConfig(Frozen):
    """The hrnet-style decoder: one downsampler per stage, resize to one grid, concat, two 1×1 convs.

    ``stride`` is the grid's: 8 means that the maps are joined at H/8 × W/8. ``mix_bias`` gives the first convolution
    the bias that MTLoRA's has; the batch norm after it makes it redundant.
    """

    kind: Literal["hrnet"] = "hrnet"
    widths: tuple[Width, ...] = (18, 36, 72, 144)
    hidden: Width
    stride: Small = 8
    mix_bias: bool = False


def _backbone_kind(value: object) -> str:
    """Tell which backbone a configuration is of; "swin" may be left out."""
    return str(value.get("kind", "swin")) if isinstance(value, dict) else str(getattr(value, "kind", "swin"))


BackboneConfig: TypeAlias = Annotated[
    Annotated[SwinConfig, Tag("swin")] | Annotated[VitConfig, Tag("vit")], Discriminator(_backbone_kind)
]
AdapterConfig: TypeAlias = Annotated[
    TdssConfig | MtloraConfig | SsfConfig | NoAdapterConfig, Field(discriminator="kind")
]


class ModelConfig(Frozen):
    """A multi-task model. ``tasks`` maps each task of bundle/tasks/table.py to its output channels, in output order."""

    schema_version: Literal[1] = 1
    name: Name
    image: ImageConfig
    backbone: BackboneConfig
    adapter: AdapterConfig
    decoder: HrnetConfig
    tasks: Annotated[dict[str, Channels], Field(min_length=1)]

    @model_validator(mode="after")
    def _parts_agree(self) -> "ModelConfig":
        if isinstance(self.adapter, TdssConfig):
            gates = tuple(len(stage) for stage in self.adapter.gates)
            if gates != self.backbone.depths:
                raise ValueError(
                    f"adapter.gates has {gates} blocks per stage, backbone.depths is {self.backbone.depths}"
                )
        if isinstance(self.adapter, MtloraConfig) and not isinstance(self.backbone, SwinConfig):
            raise ValueError("adapter.kind mtlora needs a backbone of kind swin")
        if isinstance(self.backbone, VitConfig):
            patch, size = self.backbone.patch, (self.image.height, self.image.width)
            if size[0] % patch or size[1] % patch:
                raise ValueError(f"image {size[0]}×{size[1]} is not a multiple of the backbone's patch {patch}")
        self._check_channels()
        if len(self.decoder.widths) != len(self.backbone.depths):
            raise ValueError(
                f"decoder.widths has {len(self.decoder.widths)} entries, the backbone {len(self.backbone.depths)} stages"
            )
        return self

    def _check_channels(self) -> None:
        """Refuse a task whose metric cannot take the channels; a name that is no task is refused by ``bundle.tasks.table.task``."""
        for row in TASKS:
            channels = self.tasks.get(row.name)
            if channels is not None and (channels < 2 if row.channels is None else channels != row.channels):
                wanted = "at least 2" if row.channels is None else str(row.channels)
                raise ValueError(f"tasks.{row.name} has {channels} channels, and needs {wanted}")


def require_known(known: Sequence[str], tasks: Sequence[str]) -> tuple[str, ...]:
    """Return the ``tasks`` that are asked for in the order in which they are ``known``.

    Raises:
        ConfigError: a task is not known, occurs twice, or there is none.
    """
    if not tasks or len(set(tasks)) < len(tasks) or not set(tasks) <= set(known):
        raise ConfigError(
            "these tasks cannot be kept",
            expected=f"one or more of {', '.join(known)}, each once",
            got=", ".join(tasks) or "no task",
            where="tasks",
            fix="correct the list, as in tasks=semseg,depth",
        )
    return tuple(task for task in known if task in tasks)


def keep_tasks(config: ModelConfig, tasks: Sequence[str]) -> ModelConfig:
    """Return the configuration of a model that answers ``tasks`` only, in its own order; its name tells which.

    Raises:
        ConfigError: a task is not one of the model's, occurs twice, or there is none.
    """
    names = require_known(tuple(config.tasks), tasks)
    kept = {task: config.tasks[task] for task in names}
    name = config.name if len(kept) == len(config.tasks) else "-".join([config.name, *kept])
    return config.model_copy(update={"tasks": kept, "name": name})
