"""What work costs a target when a graph is folded: read from a measurement that is stored beside the target.

``targets/<target>/folding.json`` holds candidates, the graphs of named models that follow from each, and what these take: latency
on a device, or bytes in the builder's plan. One candidate is on; ``command`` measures again.
"""

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, ValidationError, model_validator

from bundle.base.errors import ConfigError
from bundle.base.frozen import Frozen, faults

FILE = "folding.json"
Measure: TypeAlias = Literal["latency", "bytes"]


class Rates(Frozen):
    """What work costs in multiply-accumulates of a product: an element that an operator writes, and an operator.

    Products of fewer than ``thin`` rows over the same source are one operator.
    """

    element: float = Field(ge=0)
    operator: float = Field(ge=0)
    thin: int = Field(ge=0)


class Sample(Frozen):
    """What a folded graph takes over that of the first candidate: latency, or bytes per frame in the builder's plan.

    ``graph`` begins the file's SHA-256; ``quartiles`` are those of the rounds' ratios.
    """

    model: str
    variant: str
    graph: str
    macs: int = Field(ge=0)
    ratio: float = Field(gt=0)
    quartiles: tuple[float, float] | None = None
    kernels: int | None = None
    moved_mb: float | None = None


class RatesRow(Frozen):
    """One candidate: the graph of each model that follows from it, and ``mean``, the geometric mean of what these take."""

    rates: Rates
    on: bool
    mean: float = Field(gt=0)
    graphs: dict[str, str]


class FoldingCost(Frozen):
    """The candidates of a target, the simplest first, and the graphs that were measured; exactly one is on."""

    measure: Measure
    measured_on: str
    runtime: str
    date: str
    command: str
    reason: str
    rows: tuple[RatesRow, ...]
    samples: tuple[Sample, ...]

    @model_validator(mode="after")
    def _one_is_on_and_was_measured(self) -> "FoldingCost":
        on = [row for row in self.rows if row.on]
        if len(on) != 1:
            raise ValueError(f"one row is on, got {len(on)}")
        measured = {(sample.model, sample.graph) for sample in self.samples}
        if not on[0].graphs or not on[0].graphs.items() <= measured:
            raise ValueError("the row that is on was never measured")
        return self

    @property
    def rates(self) -> Rates:
        """Those of the row that is on."""
        return next(row.rates for row in self.rows if row.on)


def rates_of(target: str, folder: Path = Path(__file__).parent) -> Rates:
    """Return what work costs the named target.

    Raises:
        ConfigError: there is no such target, or its file is not of this form.
    """
    return read_folding(target, folder).rates


def read_folding(target: str, folder: Path = Path(__file__).parent) -> FoldingCost:
    """Read the measurement of the named target.

    Raises:
        ConfigError: there is no such target, or its file is not of this form.
    """
    known = sorted(path.parent.name for path in folder.glob(f"*/{FILE}"))
    path = folder / target / FILE
    if target not in known:
        raise ConfigError(
            f"there is no target {target!r}",
            expected=f"one of {', '.join(known)}",
            got=repr(target),
            where="--target",
            fix="correct the name",
        )
    try:
        return FoldingCost.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ConfigError(
            f"the costs of {target} cannot be read",
            expected="one row that is on, and what it was measured on",
            got=faults(error),
            where=str(path),
            fix=f"write it again: python -m studies.rates --target {target} --write",
        ) from error
