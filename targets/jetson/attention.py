"""Which operands of an attention are quantized for TensorRT: read from a measurement that is stored beside this file.

``attention.json`` holds one row per candidate: the passes that make it, and what NVIDIA's builder makes of a named model
with it. Its ``command`` measures again. A build needs the row only, not the builder.
"""

from pathlib import Path

from pydantic import Field, model_validator

from bundle.frozen import Frozen

FILE = "attention.json"


class Plan(Frozen):
    """The plan of one model: kernels, attentions that are one of them, MB of activations per frame, share of MACs in INT8.

    ``sqnr_db`` is of the worst output, against the float graph.
    """

    model: str
    kernels: int = Field(ge=0)
    attentions: int = Field(ge=0)
    fused: int = Field(ge=0)
    moved_mb: float = Field(gt=0)
    int8_share: float = Field(ge=0, le=1)
    sqnr_db: float | None


class Candidate(Frozen):
    """One way to quantize attention; ``passes`` run on the graph as NNCF leaves it. ``reason`` says what decided."""

    name: str
    passes: tuple[str, ...]
    on: bool
    reason: str
    plans: tuple[Plan, ...]


class AttentionRows(Frozen):
    """The candidates, the simplest first; exactly one is on."""

    builder: str
    caveat: str
    command: str
    f16: tuple[Plan, ...]
    rows: tuple[Candidate, ...]

    @model_validator(mode="after")
    def _one_is_on_and_was_measured(self) -> "AttentionRows":
        if [bool(row.plans) for row in self.rows if row.on] != [True]:
            raise ValueError(f"one measured row is on, got {[row.name for row in self.rows if row.on]}")
        return self

    @property
    def chosen(self) -> Candidate:
        """The row that is on."""
        return next(row for row in self.rows if row.on)


def read_attention(folder: Path) -> AttentionRows:
    """Read the rows from ``folder``.

    Raises:
        pydantic.ValidationError: the file is not of this form, or not exactly one row is on.
    """
    return AttentionRows.model_validate_json((folder / FILE).read_bytes())
