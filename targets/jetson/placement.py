"""Where the quantizers stand in an INT8 graph for TensorRT: read from a measurement that is stored beside this file.

``placement.json`` holds one row per candidate: the passes that place the quantizers of attention, whether the heads are
quantized, and what NVIDIA's builder makes of named models with it. Its ``command`` measures again. A build needs the row
only, not the builder.
"""

from pathlib import Path

from pydantic import Field, model_validator

from bundle.base.frozen import Frozen
from targets.base import HeadType

FILE = "placement.json"


class Plan(Frozen):
    """The plan of one model: kernels, attentions that are one of them, MB per frame, share of MACs in INT8.

    ``moved_mb`` are activations and weights together, ``weight_mb`` the weights; ``sqnr_db`` is of the worst output, against the float graph.
    """

    model: str
    kernels: int = Field(ge=0)
    attentions: int = Field(ge=0)
    fused: int = Field(ge=0)
    moved_mb: float = Field(gt=0)
    weight_mb: float = Field(gt=0)
    int8_share: float = Field(ge=0, le=1)
    sqnr_db: float | None


class Candidate(Frozen):
    """One placement; ``passes`` run on the graph as NNCF leaves it. ``reason`` says what decided."""

    name: str
    passes: tuple[str, ...]
    heads: HeadType
    on: bool
    reason: str
    plans: tuple[Plan, ...]


class Placement(Frozen):
    """The candidates, the simplest first; exactly one is on."""

    builder: str
    caveat: str
    command: str
    f16: tuple[Plan, ...]
    rows: tuple[Candidate, ...]

    @model_validator(mode="after")
    def _one_is_on_and_was_measured(self) -> "Placement":
        if [bool(row.plans) for row in self.rows if row.on] != [True]:
            raise ValueError(f"one measured row is on, got {[row.name for row in self.rows if row.on]}")
        return self

    @property
    def chosen(self) -> Candidate:
        """The row that is on."""
        return next(row for row in self.rows if row.on)


def read_placement() -> Placement:
    """Read the rows beside this file.

    Raises:
        pydantic.ValidationError: the file is not of this form, or not exactly one row is on.
    """
    return Placement.model_validate_json((Path(__file__).parent / FILE).read_bytes())
