"""Which rewrites of the float graph a target switches on: read from a measurement that is stored beside the target.

``targets/<target>/rewrites.json`` holds one row per rewrite: what it did to the latency of a named model, on which device and
runtime, and whether it is on. MACs do not decide, the row does; its ``command`` measures again. A target without
a device at hand has rows too: all off, each with the reason.
"""

from pathlib import Path

from pydantic import Field, model_validator

from bundle.base.frozen import Frozen

FILE = "rewrites.json"


class Sample(Frozen):
    """The effect on one variant of one model: latency with the rewrite over latency without, and its quartiles over the rounds."""

    model: str
    variant: str = "f32"
    sites: int = Field(ge=0)
    ratio: float = Field(gt=0)
    quartiles: tuple[float, float]


class RewriteRow(Frozen):
    """One rewrite. ``samples`` is empty where nothing could be measured; ``reason`` says what decided."""

    name: str
    on: bool
    reason: str
    samples: tuple[Sample, ...] = ()


class Rewrites(Frozen):
    """The rows of a target in the order in which they run; ``device`` is a prefix of those that the rows hold for."""

    device: str
    measured_on: str
    runtime: str
    clock: str
    command: str
    rows: tuple[RewriteRow, ...]

    @model_validator(mode="after")
    def _a_row_that_is_on_was_measured(self) -> "Rewrites":
        unmeasured = [row.name for row in self.rows if row.on and not row.samples]
        if unmeasured:
            raise ValueError(f"{', '.join(unmeasured)}: on, but never measured")
        return self

    def chosen(self, device: str) -> tuple[str, ...]:
        """Name the rewrites to run for a device; none where it is another kind than was measured."""
        return tuple(row.name for row in self.rows if row.on) if device.startswith(self.device) else ()


def read_rewrites(folder: Path) -> Rewrites:
    """Read a target's rows from ``folder``.

    Raises:
        pydantic.ValidationError: the file is not of this form, or a row is on that was never measured.
    """
    return Rewrites.model_validate_json((folder / FILE).read_bytes())
