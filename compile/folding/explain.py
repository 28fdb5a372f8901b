"""The gates and the decisions as one table: a row per module, with its cost before and after.

A module's cost is that of the nodes whose tensors carry its scope, without the modules inside it. So a column adds up to the
cost of the graph. Nodes that several modules share after folding carry the scope of one of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.table import Table

from bundle.base.frozen import Frozen
from bundle.formats.fold import FoldPart, FoldRecord
from compile.folding.static_values import Finding
from compile.folding.tables import ELIMINATION, NOTHING, Cost
from compile.stage.artifacts import total


class Row(Frozen):
    """One module: what its gates are; what the fold decided; what it costs for one image."""

    module: str
    gates: tuple[Finding, ...]
    decisions: tuple[str, ...]
    macs_before: int
    macs_after: int
    bytes_before: int
    bytes_after: int
    params_before: int
    params_after: int


def explain_rows(
    before: Mapping[str, Cost], after: Mapping[str, Cost], findings: Sequence[Finding], records: Sequence[FoldRecord]
) -> tuple[Row, ...]:
    """Join findings, decisions and costs; modules that cost nothing and have no gate have no row."""
    judged: dict[str, tuple[Finding, ...]] = {}
    for finding in findings:
        judged[finding.module] = (*judged.get(finding.module, ()), finding)
    decided = _decisions(records)
    paths = list(dict.fromkeys([*before, *after, *judged, *decided]))
    rows = (_row(path, judged, decided, before.get(path, NOTHING), after.get(path, NOTHING)) for path in paths)
    return tuple(
        row
        for row in rows
        if row.gates or row.decisions or row.bytes_before or row.bytes_after or row.params_before or row.params_after
    )


def _decisions(records: Sequence[FoldRecord]) -> dict[str, tuple[str, ...]]:
    """Return what was decided in each module: eliminations as a count, all else in words."""
    decided: dict[str, tuple[str, ...]] = {}
    counts: dict[str, Counter[str]] = {}
    for line in records:
        if line.rule == ELIMINATION:
            counts.setdefault(line.module, Counter())[line.decision] += 1
        else:
            said = f"{line.rule}: {line.decision}, {line.reason}"
            decided[line.module] = (*decided.get(line.module, ()), said)
    for module, count in counts.items():
        said = ", ".join(f"{number} {'eliminated' if kind == 'folded' else kind}" for kind, number in count.items())
        decided[module] = (*decided.get(module, ()), f"values: {said}")
    return decided


def _row(
    path: str, judged: Mapping[str, tuple[Finding, ...]], decided: Mapping[str, tuple[str, ...]], was: Cost, now: Cost
) -> Row:
    merged = ("merged away",) if (was.macs or was.params) and not (now.macs or now.params) else ()
    return Row(
        module=path,
        gates=judged.get(path, ()),
        decisions=decided.get(path, merged),
        macs_before=was.macs,
        macs_after=now.macs,
        bytes_before=was.moved,
        bytes_after=now.moved,
        params_before=was.params,
        params_after=now.params,
    )


def draw(rows: Sequence[Row], parts: Sequence[FoldPart]) -> Group:
    """Draw the table for a terminal, with the parts of the model below it."""
    table = Table("module", "gate", "mean", "spread", "effect", "MACs", "parameters", "decision", title="Per module")
    for row in filter(_shown, rows):
        numbers = [[gate.verdict, f"{gate.mean:.2g}", f"{gate.spread:.2g}", f"{gate.effect:.2g}"] for gate in row.gates]
        said = "; ".join([*(gate.reason for gate in row.gates), *row.decisions])
        table.add_row(
            row.module or "(no module)",
            *map("\n".join, zip(*numbers, strict=True) if numbers else [[""]] * 4),
            _pair(row.macs_before, row.macs_after),
            _pair(row.params_before, row.params_after),
            said,
        )
    return Group(table, draw_parts(parts))


def _shown(row: Row) -> bool:
    """Leave out what only moves values: residual sums, activations."""
    cost = row.macs_before or row.macs_after or row.params_before or row.params_after
    return bool(row.gates or row.decisions or cost)


def draw_parts(parts: Sequence[FoldPart]) -> Table:
    """Draw what each part costs before and after, and their sum."""
    table = Table("part", "MACs", "MB moved", "parameters", title="Per part, one image: before → after")
    for part in (*parts, total(parts)):
        table.add_row(
            part.part,
            _pair(part.macs_before, part.macs_after),
            f"{part.bytes_before / 1e6:.1f} → {part.bytes_after / 1e6:.1f}",
            _pair(part.params_before, part.params_after),
            end_section=part is parts[-1],
        )
    return table


def _pair(before: int, after: int) -> str:
    return _count(before) if before == after else f"{_count(before)} → {_count(after)}"


def _count(value: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(value)
