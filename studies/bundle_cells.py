"""The cells that the tables of several studies have, of what a bundle's files hold."""

from collections.abc import Sequence

import numpy as np

from bundle.judging import wording
from bundle.judging.regression_report import RegressionReport, verdicts_of
from bundle.judging.standing import variant_summary
from compile.quantization.contenders import PLAIN, REPAIRS
from compile.tensorrt_checks.plan_gates import REFERENCE
from studies.bundle_files import Made

INT8 = (PLAIN, *REPAIRS)
BUSY = "†"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["--"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def measured(made: Sequence[Made], command: str) -> str:
    """Say on what machine, with which tools, and how busy it was; ``command`` is what was typed."""
    if not made:
        return f"`{command}`: no bundle was built."
    report, tools = made[0].report, made[0].manifest.tools
    loads = [one.bench.load.before[0] for one in made if one.bench and one.bench.load and one.bench.load.before]
    busy = f"load average {min(loads):.1f} to {max(loads):.1f} before a row is timed" if loads else "load not known"
    names = ", ".join(f"{name} {version}" for name, version in tools.items())
    return (
        f"`{command}`: {report.images} validation images, on {report.device.name} "
        f"({', '.join(report.device.isa)}); {busy}; {names}."
    )


def worst_drops(report: RegressionReport) -> str:
    """Return each INT8 graph's largest drop and its task, or why it was not judged."""
    cells = []
    for row in (row for row in report.variants if row.name in INT8):
        drops = {name: np.inf if task.drop_relative is None else task.drop_relative for name, task in row.tasks.items()}
        worst = max(drops, key=lambda name: drops[name], default="")
        text = f"{wording.percent(row.tasks[worst].drop_relative)} {worst}" if worst else row.reason
        cells.append(text if row.name == PLAIN else f"{row.name}: {text}")
    return "; ".join(cells) or "no INT8 graph"


def verdict(made: Made) -> str:
    """Return how the shipped variant fares, with the other checks that failed."""
    summary = variant_summary(verdicts_of(made.report), accepted=False) if made.failed else "within every budget"
    plans = [
        f"plan check failed{'' if made.ships(gate.graph) else ', and not shipped'}: {gate.got}"
        for gate in made.failed_plans
    ]
    return "; ".join([summary, *plans])


def milliseconds(made: Made) -> str:
    """Return how long the shipped variant takes, marked where other work disturbed the measurement."""
    bench = made.bench
    time = "not timed" if bench is None or bench.shipped_ms is None else f"{bench.shipped_ms:.2f}"
    return time + (f" {BUSY}" if bench is not None and bench.disturbed else "")


def plan_cells(made: Made) -> list[str]:
    """Return the kernels of the shipped graph, what they move, and its fused attentions beside those of the FP16 graph."""
    plan, proof = made.plan, made.proof
    if plan is None or proof is None:
        return ["no proof" if proof is None else f"{proof.status}: {proof.reason}", "", ""]
    half = next((one for one in proof.graphs if one.graph == REFERENCE), None)
    beside = "" if half is None else f" ({half.fused} in FP16)"
    return [str(plan.kernels), f"{plan.moved_bytes / 1e6:.1f}", f"{plan.fused} of {plan.attentions}{beside}"]
