"""The configuration of FAAR."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from bundle.base.limits import NotNegative, Real, Small
from tdss.adapters.config import LORA, PUBLISHED, AdapterConfig

Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]


class FaarConfig(AdapterConfig):
    """FAAR (tdss/adapters/faar/modules.py): updates with magnitudes, whose ranks shrink in training (ranks.py).

    ``rank`` and ``task_rank`` are those at the start. ``median`` says which slots' scores the limit of a score comes from: the
    sampled ones', or every slot's, as in the release. ``penalty`` is the factor of the magnitudes' penalty.
    """

    kind: Literal["faar"]
    backbones = "swin"
    merges = True
    rank: Small
    task_rank: Small
    scale: Real = 4.0
    penalty: NotNegative = 1e-4
    coverage: Share = 0.95
    decay: Share = 0.98
    margin: Small = 1
    floor: Small = 2
    median: Literal["sampled", "released"] = "sampled"

    def trainable(self) -> tuple[str, ...]:
        """Return the updates, their magnitudes, and what the publication trains beside them."""
        return (*LORA, *PUBLISHED)
