"""The images and the backbones of models, as configurations; ``BackboneConfig`` is their contract."""

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeAlias

from pydantic import Field, model_validator

from bundle.base.frozen import Frozen
from bundle.base.limits import LIMITS, Blocks, Positive, Ratio, Side, Small, Width
from bundle.tasks.preprocess import Deviation, Mean

STAGES = LIMITS["stages"].most
Depths: TypeAlias = Annotated[tuple[Blocks, ...], Field(min_length=1, max_length=STAGES)]
DropPath: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class StageShape(NamedTuple):
    """The shape of what a stage gives: ``[batch, height, width, channels]``."""

    channels: int
    height: int
    width: int


class ImageConfig(Frozen):
    """The image a model takes: RGB, ``height`` × ``width`` pixels, normalised as (x/255 − mean)/std."""

    height: Side
    width: Side
    mean: Mean = (0.485, 0.456, 0.406)
    std: Deviation = (0.229, 0.224, 0.225)


class BackboneConfig(Frozen):
    """The contract of a backbone's configuration."""

    kind: str
    if TYPE_CHECKING:  # each kind has its own place for these
        depths: Depths
        drop_path: DropPath

    @abstractmethod
    def width(self, stage: int) -> int:
        """Channels of a stage's output."""

    def fault(self, image: ImageConfig) -> str:
        """Say why the backbone cannot take images of this size; "" if it can."""
        return ""


class SwinConfig(BackboneConfig):
    """A Swin transformer (Liu et al., ICCV 2021) without its classifier."""

    kind: Literal["swin"] = "swin"
    embed_dim: Width
    depths: Depths
    heads: Annotated[tuple[Small, ...], Field(min_length=1, max_length=STAGES)]
    window: Small = 7
    mlp_ratio: Ratio = 4.0
    patch: Small = 4
    drop_path: DropPath = 0.0

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


class VitConfig(BackboneConfig):
    """A vision transformer as DINOv2 uses it; its blocks are grouped into stages of ``depths`` blocks, all of one width."""

    kind: Literal["vit"]
    dim: Width
    depths: Depths
    heads: Small
    patch: Small = 14
    mlp_ratio: Ratio = 4.0
    norm_eps: Positive = 1e-6
    drop_path: DropPath = 0.0

    @model_validator(mode="after")
    def _heads_divide(self) -> "VitConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} is not a multiple of {self.heads} heads")
        return self

    def width(self, stage: int) -> int:
        """Channels of a stage's output: the same in every stage."""
        return self.dim

    def fault(self, image: ImageConfig) -> str:
        """See ``BackboneConfig.fault``."""
        fits = image.height % self.patch == image.width % self.patch == 0
        return (
            "" if fits else f"image {image.height}×{image.width} is not a multiple of the backbone's patch {self.patch}"
        )


def kind_or(default: str) -> Callable[[object], str]:
    """Return what tells which configuration a table of TOML is of; ``default`` may be left out."""

    def kind(value: object) -> str:
        return str(value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", default))

    return kind
