"""The adapters' configurations; ``AdapterConfig`` is their contract."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from bundle.base.frozen import Frozen
from bundle.base.limits import LIMITS, Experts, Positive, Real, Small
from tdss.backbones.config import BackboneConfig, StageShape

Gate: TypeAlias = Literal["static", "dynamic"]
Site: TypeAlias = Literal["attention", "mlp"]
"""An input of a transformer block that adapters read: a field of ``tdss.backbones.base.BlockTap``."""


class AdapterConfig(Frozen):
    """The contract of an adapter's configuration: what may be known of it without building it.

    ``backbones`` is the kind of the only backbones that it fits, "" if it fits any. ``merges`` says that a decoder gets its
    task's streams after each stage's merging.
    """

    kind: str
    backbones: ClassVar[str] = ""
    merges: ClassVar[bool] = False

    def fault(self, backbone: BackboneConfig) -> str:
        """Say why the adapter does not fit the backbone, with the key; "" if it does."""
        fits = self.backbones in ("", backbone.kind)
        return "" if fits else f"adapter.kind {self.kind} needs a backbone of kind {self.backbones}"

    def maps(self, stages: int) -> int:
        """Return how many maps a task's decoder gets of a backbone with this number of stages."""
        return stages

    def shapes(self, stages: Sequence[StageShape], image: tuple[int, int]) -> tuple[StageShape, ...]:
        """Return the shapes of what a task's decoder gets, from those of the backbone's stages; the last has no merging.

        ``image`` is the (height, width) of the image.
        """
        return (*stages[1:], stages[-1]) if self.merges else tuple(stages)

    def reads(self) -> tuple[Site, ...] | None:
        """Return the inputs of every block that it reads beside the stages' outputs; None: it is inside the backbone."""
        return None

    def trainable(self) -> tuple[str, ...]:
        """Return patterns of parameters inside the backbone that are trained though it is frozen (tdss/training/start.py)."""
        return ()


class TdssConfig(AdapterConfig):
    """TDSS adapters; every equation is in ``tdss/adapters/tdss.py``, each choice a switch.

    ``gates`` holds one list per stage with one gate kind per block.
    ``top_k`` = 0 keeps every skill; otherwise only the k largest gate values of each task stay. ``stem`` is the number of
    channels of a convolutional stem beside the backbone (tdss/adapters/stem.py); 0: there is none.
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
    stem: Annotated[int, Field(strict=True, ge=0, le=LIMITS["width"].most)] = 0

    def fault(self, backbone: BackboneConfig) -> str:
        """See ``AdapterConfig.fault``."""
        gates, depths = tuple(len(stage) for stage in self.gates), backbone.depths
        return "" if gates == depths else f"adapter.gates has {gates} blocks per stage, backbone.depths is {depths}"

    def maps(self, stages: int) -> int:
        """See ``AdapterConfig.maps``: the stem's is one more."""
        return stages + bool(self.stem)

    def shapes(self, stages: Sequence[StageShape], image: tuple[int, int]) -> tuple[StageShape, ...]:
        """See ``AdapterConfig.shapes``: the stem's map comes first."""
        height, width = (-(-side // STEM_STRIDE) for side in image)
        return (*((StageShape(self.stem, height, width),) if self.stem else ()), *stages)

    def reads(self) -> tuple[Site, ...]:
        """See ``AdapterConfig.reads``."""
        return ("attention", "mlp") if self.insertion == "both" else (self.insertion,)


class MtloraConfig(AdapterConfig):
    """MTLoRA (tdss/adapters/mtlora.py): low-rank updates of a Swin, ``task_rank`` for each task in last blocks.

    ``reduction`` adapts PatchMerging's reduction too (MTLoRA+).
    """

    kind: Literal["mtlora"]
    backbones = "swin"
    merges = True
    rank: Small
    task_rank: Small = 4
    scale: Real = 4.0
    reduction: bool = False

    def trainable(self) -> tuple[str, ...]:
        """Return the updates and what the publication trains beside them; MTLoRA+ freezes the reductions."""
        return (*LORA, *PUBLISHED, *(() if self.reduction else ("backbone.*.reduction.weight",)))


class SsfConfig(AdapterConfig):
    """SSF (tdss/adapters/lora.py): a gain and a shift after every linear of every block, shared by all tasks."""

    kind: Literal["ssf"]

    def trainable(self) -> tuple[str, ...]:
        """Return the gains and shifts of the linears."""
        return ("backbone.*.shift", *(f"backbone.*.{linear}.gain" for linear in ("qkv", "proj", "fc1", "fc2")))


class NoAdapterConfig(AdapterConfig):
    """No adapter: every task reads the backbone's stages. The baseline, and a model whose decoders are all of it."""

    kind: Literal["none"] = "none"

    def reads(self) -> tuple[Site, ...]:
        """See ``AdapterConfig.reads``: the stages' outputs only."""
        return ()


STEM_STRIDE = 4
"""A stem's map has H/4 × W/4 positions, rounded up."""
LORA = ("backbone.*.update.*", "backbone.*.shared.*", "backbone.*.tasks.*")
PUBLISHED = ("backbone.patch_embed.*", "backbone.*norm*", "backbone.*.bias_table")
"""What MTLoRA and the systems that build on it train of the backbone itself."""
