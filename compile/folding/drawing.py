"""The record of a folded graph for a terminal: costs by module scope, the choices that matter, what was left alone."""

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table

from compile.folding.record import FoldedGraph, ScopeCost, ValueDecision

NAMES = 3  # of tensors that are left alone for one reason


def draw(record: FoldedGraph) -> Group:
    """Draw the record."""
    tables = (_totals(record), _scopes(record.scopes), _values(record.values), _untouched(record))
    return Group(*(table for table in tables if table.row_count))


def _totals(record: FoldedGraph) -> Table:
    table = Table("", "before", "after", title=f"The graph: {record.outcome} for {record.target}")
    for name, before, after in (
        ("multiply-accumulates", record.macs_before, record.macs_after),
        ("parameters", record.params_before, record.params_after),
        ("nodes", record.nodes_before, record.nodes_after),
    ):
        table.add_row(name, f"{before:,}", f"{after:,}")
    table.add_row("estimated cost, in MACs", f"{record.cost_before:,.0f}", f"{record.cost_after:,.0f}")
    table.caption = (
        f"MACs are multiply-accumulates. The estimated cost adds {record.rates.element:,.0f} for each element that an operator writes, "
        f"and {record.rates.operator:,.0f} for each operator."
    )
    table.add_row("largest relative error, float64", "", f"{max(record.proof.float64.values()):.1e}")
    table.add_row("largest relative error, float32", "", f"{max(record.proof.float32.values()):.1e}")
    return table


def _scopes(scopes: Sequence[ScopeCost]) -> Table:
    table = Table("scope", "M MACs", "MB moved", "nodes", title="What changed, by module scope: before → after")
    for one in scopes:
        if (one.macs_before, one.nodes_before) != (one.macs_after, one.nodes_after):
            table.add_row(
                one.scope or "(no scope)",
                f"{one.macs_before / 1e6:.2f} → {one.macs_after / 1e6:.2f}",
                f"{one.bytes_before / 1e6:.2f} → {one.bytes_after / 1e6:.2f}",
                f"{one.nodes_before} → {one.nodes_after}",
            )
    return table


def _values(values: Sequence[ValueDecision]) -> Table:
    table = Table("value", "positions", "channels", "decision", "why", title="Where there was a choice")
    for one in values:
        if one.macs:
            table.add_row(one.value, str(one.positions), str(one.channels), one.decision, one.reason)
    return table


def _untouched(record: FoldedGraph) -> Table:
    table = Table("why", "tensors", title="Left as it is")
    for reason, names in record.untouched.items():
        more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
        table.add_row(reason, ", ".join(names[:NAMES]) + more)
    return table
