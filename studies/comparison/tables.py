"""What ``tdss bench`` measured, row by row, and the tables that are drawn from it."""

from collections.abc import Iterable, Sequence
from math import isnan
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen, faults
from bundle.base.limits import read_limited
from bundle.base.nullable_float import NullableFloat
from bundle.judging.timing import Load, Percentiles, busy

OURS = "ours"
APART = "†"


class Row(Frozen):
    """One way to run one model. ``reason`` says why it was not run; it is empty where it was.

    ``group`` are the rows that were timed in turns, ``model`` what they run. ``key`` names all that decides the figures.
    ``sittings`` are the runs of the command that its rounds come from; ``bytes`` are those of the files it loads.
    ``drops`` are relative, by task, against float32 in eager PyTorch; ``sqnr_db`` is what stands there without labels.
    """

    group: str
    model: str
    name: str
    label: str
    key: str
    reason: str = ""
    latency: Percentiles | None = None
    sittings: tuple[str, ...] = ()
    disturbed: tuple[str, ...] = ()
    load: Load | None = None
    computes: str = ""
    bytes: int | None = None
    peak_mib: float | None = None
    drops: dict[str, NullableFloat] = Field(default_factory=dict)
    sqnr_db: dict[str, NullableFloat] = Field(default_factory=dict)


class Comparison(Frozen):
    """One result. ``command`` makes it again, ``tools`` are the versions of the runtimes."""

    schema_version: Literal[1] = 1
    command: str
    machine: str
    isa: tuple[str, ...]
    cpus: int
    threads: int
    rounds: tuple[int, ...]
    warmup: int
    burst: int
    images: int
    tools: dict[str, str]
    rows: tuple[Row, ...]

    def group(self, name: str) -> tuple[Row, ...]:
        """Return the rows that were timed in turns."""
        return tuple(row for row in self.rows if row.group == name)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups in their order."""
        return tuple(dict.fromkeys(row.group for row in self.rows))


def read_comparison(path: Path) -> Comparison:
    """Read a result that the command wrote.

    Raises:
        ArtifactError: the file is missing or holds something else.
    """
    try:
        return Comparison.model_validate_json(read_limited(path, "json_bytes"))
    except (OSError, ValidationError) as error:
        raise ArtifactError(
            "this is no result of the benchmark",
            expected="the bench.json that tdss bench writes",
            got=faults(error),
            where=str(path),
            fix="run tdss bench",
        ) from error


def markdown(found: Comparison) -> str:
    """Return the tables as Markdown, and what they were measured on."""
    tools = ", ".join(f"{name} {version}" for name, version in found.tools.items())
    lines = [
        f"`{found.command}`: {found.machine}, {found.cpus} CPUs, {', '.join(found.isa) or 'ISA not known'}; {tools}. "
        f"{found.threads} threads; medians of {', '.join(map(str, found.rounds))} interleaved rounds (default, swin-t, scaling) after {found.warmup} calls to warm up, "
        f"a round being the median of {found.burst} calls after one that is not timed."
    ]
    for name in found.groups:
        rows = found.group(name)
        table = _scaling(rows) if len({row.model for row in rows}) > 1 else _table(rows, found)
        lines += ["", f"### {name}", "", *table, *_notes(rows)]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row], found: Comparison) -> list[str]:
    """Write a line per row: latency, over our own rows, size, memory, and what it costs in accuracy."""
    tasks = list(dict.fromkeys(task for row in rows for task in (*row.drops, *row.sqnr_db)))
    labelled = any(row.drops for row in rows)
    ours = [row for row in rows if row.name.startswith(OURS) and row.latency is not None]
    head = ["", "floats in", "ms", "p10 … p90", *(f"÷ {row.label}" for row in ours), "MB", "peak MiB", *tasks]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(_cells(row, ours, tasks, rows))} |" for row in rows]
    what = (
        f"relative drop in % against float32 in eager PyTorch, {found.images} labelled images; negative is better"
        if labelled
        else "signal-to-noise ratio in dB against float32 in eager PyTorch"
    )
    return [*lines, "", f"By task: {what}."]


def _cells(row: Row, ours: Sequence[Row], tasks: Sequence[str], rows: Sequence[Row]) -> list[str]:
    name = f"{row.label} {APART}" if _apart(row, rows) else row.label
    if row.latency is None:
        return [name, f"not run: {row.reason}", *[""] * (4 + len(ours) + len(tasks))]
    time = [f"{row.latency.p50_ms:.2f}", f"{row.latency.p10_ms or 0:.2f} … {row.latency.p90_ms:.2f}"]
    over = [f"{row.latency.p50_ms / our.latency.p50_ms:.2f}" for our in ours if our.latency is not None]
    memory = [
        "" if row.bytes is None else f"{row.bytes / 1e6:.1f}",
        "" if row.peak_mib is None else f"{row.peak_mib:.0f}",
    ]
    return [name, row.computes, *time, *over, *memory, *(_accuracy(row, task) for task in tasks)]


def _accuracy(row: Row, task: str) -> str:
    """Return a task's drop in percent, – where it is undefined, or its signal-to-noise ratio, = where the outputs are equal."""
    if task in row.drops:
        return "–" if isnan(row.drops[task]) else f"{round(100 * row.drops[task], 2) + 0.0:.2f}"  # no -0.00
    ratio = row.sqnr_db.get(task)
    return "" if ratio is None else "=" if isnan(ratio) else f"{ratio:.1f}"


def _scaling(rows: Sequence[Row]) -> list[str]:
    """Write a line per way to run, a column per model: milliseconds, and in brackets those over the first model."""
    models, labels = (list(dict.fromkeys(getattr(row, key) for row in rows)) for key in ("model", "label"))
    lines = [f"| ms (÷ first) | {' | '.join(models)} |", "|" + "---|" * (len(models) + 1)]
    for label in labels:
        own = {row.model: row for row in rows if row.label == label}
        lines.append(f"| {label} | {' | '.join(_step(own, model) for model in models)} |")
    return lines


def _step(own: dict[str, Row], model: str) -> str:
    """Return the cell of a model: the first one with the same image size is what it is divided by."""
    row = own.get(model)
    if row is None:
        return ""
    if row.latency is None:
        return f"not run: {row.reason}"
    size = model.partition(",")[0]
    base = next(
        (one.latency for name, one in own.items() if name.partition(",")[0] == size and one.latency), row.latency
    )
    return f"{row.latency.p50_ms:.2f} ({row.latency.p50_ms / base.p50_ms:.2f})"


def _apart(row: Row, rows: Iterable[Row]) -> bool:
    """Say whether a row has rounds of other runs than most rows of its group: not interleaved with all of them."""
    sittings = [one.sittings for one in rows if one.latency is not None]
    return row.latency is not None and row.sittings != max(sittings, key=sittings.count)


def _notes(rows: Sequence[Row]) -> list[str]:
    """Return what stands below a group: how busy the machine was, and which rows were timed apart."""
    loads = [
        row.load for row in rows if row.load is not None and row.load.before is not None and row.load.after is not None
    ]
    lines = []
    if loads:
        first, last = loads[0], loads[-1]
        lines += ["", f"Load average {(first.before or (0,))[0]:.1f} before and {(last.after or (0,))[0]:.1f} after."]
    found = tuple(dict.fromkeys(one for row in rows for one in row.disturbed))
    lines += ["", f"Warning: {busy(found)}."] if found else []
    apart = [row.label for row in rows if _apart(row, rows)]
    lines += (
        ["", f"{APART} timed in another run of the command than most rows: not interleaved with them."] if apart else []
    )
    return lines
