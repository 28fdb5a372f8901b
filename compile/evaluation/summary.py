"""What a build ends with: a line for each variant, and the next steps, those that pay where it is not within its budgets."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from bundle.judging import wording
from bundle.judging.choice import Bench, Choice
from bundle.judging.regression_report import RegressionReport, VariantRow, VariantTask
from bundle.judging.sensitivity import SearchReport, costliest, read_sensitivity
from bundle.judging.sentences import why_candidate, why_shipped
from bundle.judging.timing import busy
from bundle.judging.verdict import MINIMUM_IMAGES
from compile.stage.config import BuildConfig

COSTLIEST = 3
ROOM = 1.1  # a budget that is proposed is so many times what these images show, for others show a little more


def describe(choice: Choice, bench: Bench) -> list[str]:
    """Say in a line for each variant how fast it is, whether it is within its budgets, and why it is shipped or not."""
    lines = []
    for candidate in choice.candidates:
        latency = "   no timing" if candidate.latency_ms is None else f"{candidate.latency_ms:8.2f} ms"
        lines.append(f"  {candidate.name:12} {latency}  {why_candidate(choice, candidate)}")
    if bench.eager_ms is not None:
        lines.append(f"  {wording.eager(bench.eager_ms)}")
    if bench.disturbed:
        lines.append(f"warning: {busy(bench.disturbed)}")
    return [*lines, f"shipped: {choice.shipped}, {why_shipped(choice)}"]


def next_steps(asked: BuildConfig, report: RegressionReport, folder: Path) -> list[str]:
    """Say where all results are, then how a bundle gets to its device or, where it is not within its budgets, what to do:
    the costliest layers, the nearest variant, the commands.

    ``folder`` is the bundle's; where nothing was searched it has no ``sensitivity.json``.
    """
    page = f"  all results: {folder / 'report.html'}"
    if report.passed:
        return [page, *_to_device(report, folder)]
    search = read_sensitivity(folder)
    few = [name for name, result in report.tasks.items() if result.labelled_images < MINIMUM_IMAGES]
    beyond = [name for name, result in report.tasks.items() if result.verdict != "pass" and name not in few]
    nearest = min((row for row in report.variants if row.tasks and beyond), key=_distance, default=None)
    return [
        page,
        *(
            [f"  too few labels for a verdict: {', '.join(few)}; give at least {MINIMUM_IMAGES} images with each"]
            if few
            else []
        ),
        *describe_costs(search, beyond),
        *([] if nearest is None else [f"  nearest to passing: {nearest.name}, {_far(nearest)}"]),
        *([] if search is None else _more_float(asked, search)),
        *([] if nearest is None else _wider(asked, nearest)),
    ]


def _to_device(report: RegressionReport, folder: Path) -> list[str]:
    """Say how a bundle gets to its device, where this machine is none."""
    if report.executed_on == "device":
        return []
    pack = shlex.join(["tdss", "bundle", "pack", str(folder)])
    return [f"  to a device: {pack}; copy {folder}.zip there; make target={report.target} bundle={folder.name}.zip"]


def describe_costs(search: SearchReport | None, tasks: list[str]) -> list[str]:
    """Say for each task which layers make most of its noise; nothing if they were not measured."""
    rows = () if search is None else search.layers
    return [
        f"  {name}: its noise comes from "
        + ", ".join(f"{layer} {part:.0%}" for layer, part in costliest(rows, name, COSTLIEST))
        for name in tasks
        if rows
    ]


def _distance(row: VariantRow) -> float:
    """Return the largest part of its budget that a task's interval reaches; infinite where that is undefined."""
    return max(_reach(task) for task in row.tasks.values())


def _reach(task: VariantTask) -> float:
    end = task.interval[1]
    return float("inf") if end is None else end / task.budget


def _far(row: VariantRow) -> str:
    tasks = {name: task for name, task in row.tasks.items() if task.verdict != "pass"}
    return "; ".join(
        f"{name} {task.verdict}, {wording.interval(task.interval)} of a budget of {wording.budget(task.budget)}"
        for name, task in tasks.items()
    )


def _more_float(asked: BuildConfig, search: SearchReport) -> list[str]:
    """Propose the share of the MACs in float that is foreseen to be enough."""
    if search.enough is None or search.enough <= search.config.limit:
        return []
    command = _command(asked, {"--search-limit": f"{search.enough:.2f}"})
    return [f"  foreseen to pass with {search.enough:.0%} of the MACs in float: {command}"]


def _wider(asked: BuildConfig, row: VariantRow) -> list[str]:
    """Propose the budgets under which the nearest variant would have passed on these images."""
    wanted = {
        name: ROOM * task.interval[1] if task.interval[1] is not None and task.verdict != "pass" else task.budget
        for name, task in row.tasks.items()
    }
    if any(task.interval[1] is None for task in row.tasks.values()):
        return []
    text = ",".join(f"{name}={budget:.2g}" for name, budget in wanted.items() if budget > row.tasks[name].budget)
    return [f"  to accept {row.name} as it is: {_command(asked, {'--budgets': text})}"] if text else []


def _command(asked: BuildConfig, options: Mapping[str, str]) -> str:
    subject = {"--checkpoint": str(asked.checkpoint)}
    if asked.network is not None:
        subject = {"--network": str(asked.network), "--tasks": str(asked.tasks)}
    given = {"--target": asked.target, **subject, "--data": str(asked.data)}
    size = () if asked.size is None else ("--size", *map(str, asked.size))
    return shlex.join(["tdss", "pipeline", *(word for pair in {**given, **options}.items() for word in pair), *size])
