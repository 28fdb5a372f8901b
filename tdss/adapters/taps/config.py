"""The configuration of TAPS."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from bundle.base.limits import LIMITS, CountOrNone, NotNegative
from tdss.adapters.config import AdapterConfig

Patterns: TypeAlias = tuple[Annotated[str, Field(min_length=1, max_length=LIMITS["path_bytes"].most)], ...]


class TapsConfig(AdapterConfig):
    """TAPS on a Swin or a ViT (tdss/adapters/taps/modules.py): each task has some linears of its own, and learns which.

    ``layers`` are patterns of the linears that have scores, as in ``stages.3.*``. ``sparsity`` is λ of the penalty, which acts
    in epochs greater than ``warmup``. Its divisor is the number of a task's scores, or 52, as in the release. ``specialised``
    has the layers that are open, by task: such a model has no scores. A training writes it into its checkpoint.
    """

    kind: Literal["taps"]
    layers: Annotated[Patterns, Field(min_length=1)] = ("*",)
    sparsity: NotNegative = 1.0
    warmup: CountOrNone = 0
    divisor: Literal["layers", "released"] = "layers"
    specialised: dict[str, Patterns] | None = None
