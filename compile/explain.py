"""The analysis and the decisions as one table: a row per module, with its cost before and after.

A row's MACs, bytes and parameters are those of the module itself, without the modules inside it, so a column adds up to
the whole model. A module that a fold made has no cost before, one that a fold took away has none after.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Group
from rich.table import Table
from torch import nn

from bundle.artifacts import Folded
from bundle.fold import FoldPart, FoldRecord
from bundle.frozen import Frozen
from compile.analysis import Finding
from compile.folds.cost import Cost, Trace
from compile.module_folds import Traced
from compile.stored import total

ANALYSIS = "analysis.json"


class Row(Frozen):
    """One module: its finding, if it was judged; what the folds decided; what it costs for one image."""

    module: str
    finding: Finding | None
    decisions: tuple[str, ...]
    macs_before: int
    macs_after: int
    bytes_before: int
    bytes_after: int
    params_before: int
    params_after: int


def explain_rows(
    before: Traced, after: Traced, findings: Sequence[Finding], records: Sequence[FoldRecord]
) -> tuple[Row, ...]:
    """Join findings, decisions and costs; modules that cost nothing and were not judged have no row."""
    was, now = own_costs(before.model, before.trace), own_costs(after.model, after.trace)
    judged = {finding.module: finding for finding in findings}
    decided = _decisions(records)
    paths = list(dict.fromkeys([*was, *now, *decided]))
    none = Cost(0, 0, 0)
    rows = (_row(path, judged, decided, was.get(path, none), now.get(path, none)) for path in paths)
    return tuple(row for row in rows if row.finding or row.decisions or row.bytes_before or row.bytes_after
                 or row.params_before or row.params_after)  # fmt: skip


def own_costs(model: nn.Module, trace: Trace) -> dict[str, Cost]:
    """Return what each module costs without the modules inside it, by path; "" is the model's own."""
    own: dict[str, Cost] = {}
    for path, module in model.named_modules():
        inside = [f"{path}.{name}".lstrip(".") for name, _ in module.named_children()]
        ran = path == "" or path in trace.moved or not inside
        whole, parts = trace.of(model, [path]), trace.of(model, _running(model, inside, trace))
        params = sum(p.numel() for p in _tensors(module) if p.is_floating_point())
        own[path] = Cost(whole.macs - parts.macs, whole.moved - parts.moved, params) if ran else Cost(0, 0, params)
    return own


def _running(model: nn.Module, paths: Sequence[str], trace: Trace) -> list[str]:
    """Return the nearest modules at or below ``paths`` that ran: a container such as a ModuleList never does."""
    found: list[str] = []
    for path in paths:
        if path in trace.moved:
            found.append(path)
        else:
            children = [f"{path}.{name}" for name, _ in model.get_submodule(path).named_children()]
            found += _running(model, children, trace)
    return found


def _tensors(module: nn.Module) -> Iterator[nn.Parameter]:
    kept = {name.partition(".")[0] for name in module.state_dict() if "." not in name}
    for name in kept:
        yield getattr(module, name)


def _decisions(records: Sequence[FoldRecord]) -> dict[str, tuple[str, ...]]:
    decided: dict[str, tuple[str, ...]] = {}
    for line in records:
        said = f"{line.rule}: {line.decision}, {line.reason}"
        decided[line.module] = (*decided.get(line.module, ()), said)
    return decided


def _row(path: str, judged: Mapping[str, Finding], decided: Mapping[str, tuple[str, ...]], was: Cost, now: Cost) -> Row:
    merged = ("merged away",) if (was.macs or was.params) and not (now.macs or now.params) else ()
    return Row(
        module=path, finding=judged.get(path), decisions=decided.get(path, merged), macs_before=was.macs,
        macs_after=now.macs, bytes_before=was.moved, bytes_after=now.moved, params_before=was.params,
        params_after=now.params,
    )  # fmt: skip


def read_rows(folded: Folded) -> tuple[Row, ...]:
    """Read the table that the fold stage left in the artifact."""
    return TypeAdapter(tuple[Row, ...]).validate_json(folded.file(ANALYSIS).read_bytes())


def draw(rows: Sequence[Row], parts: Sequence[FoldPart]) -> Group:
    """Draw the table for a terminal, with the parts of the model below it."""
    table = Table("module", "is", "mean", "spread", "effect", "MACs", "parameters", "decision", title="Per module")
    for row in filter(_shown, rows):
        found = row.finding
        numbers = ("", "", "") if found is None else tuple(map(_number, (found.mean, found.spread, found.effect)))
        said = "; ".join([*([found.reason] if found else []), *row.decisions])
        table.add_row(
            row.module or "(the model itself)", found.verdict if found else "", *numbers,
            _pair(row.macs_before, row.macs_after), _pair(row.params_before, row.params_after), said,
        )  # fmt: skip
    return Group(table, draw_parts(parts))


def _shown(row: Row) -> bool:
    """Leave out what only moves values: residual sums, activations."""
    cost = row.macs_before or row.macs_after or row.params_before or row.params_after
    return bool(row.finding or row.decisions or cost)


def draw_parts(parts: Sequence[FoldPart]) -> Table:
    """Draw what each part costs before and after, and their sum."""
    table = Table("part", "MACs", "MB moved", "parameters", title="Per part, one image: before → after")
    for part in (*parts, total(parts)):
        table.add_row(
            part.part, _pair(part.macs_before, part.macs_after),
            f"{part.bytes_before / 1e6:.1f} → {part.bytes_after / 1e6:.1f}",
            _pair(part.params_before, part.params_after), end_section=part is parts[-1],
        )  # fmt: skip
    return table


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the table as JSON."""
    path.write_bytes(TypeAdapter(tuple[Row, ...]).dump_json(tuple(rows), indent=1))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _pair(before: int, after: int) -> str:
    return _count(before) if before == after else f"{_count(before)} → {_count(after)}"


def _count(value: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(value)
