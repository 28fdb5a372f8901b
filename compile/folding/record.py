"""What folding a graph did: each value's decision, what was left alone and why, the costs before and after, the proof."""

from typing import Literal

from pydantic import Field

from bundle.base.frozen import Frozen
from bundle.formats.fold import FoldProof
from targets.folding import Rates


class ValueDecision(Frozen):
    """A value between linear maps: kept or eliminated, and why. ``macs`` is what the other choice would cost more, in
    multiply-accumulates of the target's cost; None where there was no choice.
    """

    value: str
    positions: int
    channels: int
    decision: Literal["kept", "eliminated"]
    reason: str
    macs: float | None


class ScopeCost(Frozen):
    """What the nodes of one module scope cost for one call, before and after."""

    scope: str
    macs_before: int
    macs_after: int
    bytes_before: int
    bytes_after: int
    nodes_before: int
    nodes_after: int


class FoldedGraph(Frozen):
    """The record of a folded graph; ``outcome`` says if the file is folded, or the graph as it came since nothing pays.

    The costs are in multiply-accumulates of the ``target``, by its ``rates``.
    """

    outcome: Literal["folded", "nothing pays"]
    target: str
    rates: Rates
    macs_before: int
    macs_after: int
    params_before: int
    params_after: int
    nodes_before: int
    nodes_after: int
    cost_before: float
    cost_after: float
    proof: FoldProof
    scopes: tuple[ScopeCost, ...] = ()
    values: tuple[ValueDecision, ...] = ()
    untouched: dict[str, tuple[str, ...]] = Field(default_factory=dict)


def scope_of(name: str) -> str:
    """Return the module scope in a tensor's name: ``a.b.c/Add`` and ``/a/b/Conv_output_0`` have one, ``val_3`` has none."""
    if name.startswith("/"):
        return ".".join(name[1:].split("/")[:-1])
    return name.split("/")[0] if "/" in name else ""
