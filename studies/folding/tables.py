"""The figures of ``make bench-fold`` as Markdown tables, written into docs/studies/folding-numbers.md."""

from pathlib import Path

from studies.folding.figures import BURST, Figures, Number
from studies.folding.kernels import PART, op_table
from studies.generated_section import replace_section

SECTION = "written by studies.folding.run"


def write_page(figures: Figures, page: Path) -> None:
    """Write the tables into their section of ``page``."""
    replace_section(page, SECTION, markdown(figures), title="Folding: the numbers to reach")


def markdown(figures: Figures) -> str:
    """Return the numbers with their limits, the latencies, and what they were measured on."""
    versions = ", ".join(f"{name} {version.partition(' ')[2]}" for name, version in figures.runtimes.items())
    clock = "CPU time" if figures.clock == "cpu" else "wall time"
    lines = [
        f"`{figures.preset}`, {figures.threads} {'thread' if figures.threads == 1 else 'threads'}, {clock}, medians of {figures.rounds} interleaved rounds of {BURST} calls on {figures.machine}; "
        f"{versions}; load average {figures.load[0]:.1f} before and {figures.load[1]:.1f} after.",
        "",
        *(f"Rewrites in {name}: {', '.join(names) or 'none'}.  " for name, names in figures.rewrites.items()),
        "",
        "| runtime | number | value | quartiles | limit | met |",
        "|---|---|---|---|---|---|",
        *(_row(row) for row in figures.rows),
        "",
        "| runtime | graph | ms | quartiles |",
        "|---|---|---|---|",
        *(
            f"| {latency.runtime} | {latency.graph} | {latency.median_ms:.1f} | {latency.low_ms:.1f} … {latency.high_ms:.1f} |"
            for latency in figures.latencies
        ),
    ]
    for runtime in figures.runtimes:
        for part in (False, True):
            names = [
                one.graph for one in figures.latencies if one.runtime == runtime and one.graph.startswith(PART) is part
            ]
            if names:
                lines += ["", *op_table(figures.kernels, runtime, names)]
    return "\n".join(lines) + "\n"


def _row(row: Number) -> str:
    percent = "overhead" in row.name or "growth" in row.name
    spread = "" if row.spread is None else " … ".join(_show(value, percent) for value in row.spread)
    limit = "" if row.limit is None else f"{'≥' if row.at_least else '≤'} {_show(row.limit, percent)}"
    met = "" if row.limit is None else ("yes" if row.met else "**no**")
    return f"| {row.runtime} | {row.name} | {_show(row.value, percent)} | {spread} | {limit} | {met} |"


def _show(value: float, percent: bool) -> str:
    return f"{100 * value:.1f} %" if percent else f"{value:.3g}"
