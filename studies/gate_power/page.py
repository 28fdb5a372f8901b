"""The power of the gate: how often planted regressions of known size are found, as a figure and a table.

    python -m studies.gate_power.page --power docs/studies/regression-power.json --doc docs/studies/regression-power.md --figure docs/studies/regression-power.png

``studies.gate_power.measure`` measures it; here its result is drawn, and written between two marks of a Markdown file.
"""

import itertools
import math
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from bundle.base.errors import InputError
from bundle.base.frozen import Frozen, faults
from bundle.judging import wording
from bundle.judging.verdict import Verdict
from compile.stage.command import run_script
from studies.figure import panels, save
from studies.generated_section import replace_section

SECTION, TITLE = "written by studies.gate_power.measure", "The power of the regression gate"
PANEL_INCHES = (4.2, 3.1)
COLOURS: dict[Verdict, str] = {"regression": "#c0271c", "pass": "#1a7f37"}
LINES = (":", "--", "-")
MARGIN = 0.25
FOUND = 0.8
RATE = 0.025  # of mistakes on either side that a 95 % interval allows


class Trials(Frozen):
    """The shares of the verdicts over ``draws`` draws of ``images`` images each."""

    images: int
    draws: int
    regression: float
    inconclusive: float
    passed: float


class Planted(Frozen):
    """A regression of known size: ``noise`` on one layer's weights, relative to their root mean square.

    ``drop`` is the relative drop over all images, the truth the trials are held against; ``verdict`` is the gate's on them.
    """

    task: str
    layer: str
    noise: float
    drop: float
    interval: tuple[float, float]
    budget: float
    verdict: Verdict
    trials: tuple[Trials, ...]


class Power(Frozen):
    """A whole measurement: every planted regression of a model, judged many times per number of images."""

    schema_version: int = 2
    model: str
    images: int
    resamples: int
    points: tuple[Planted, ...]

    def tasks(self) -> tuple[str, ...]:
        """Return the tasks in order."""
        return tuple(dict.fromkeys(point.task for point in self.points))

    def of(self, name: str) -> tuple[Planted, ...]:
        """Return a task's planted regressions, the smallest drop first."""
        return tuple(sorted((point for point in self.points if point.task == name), key=lambda point: point.drop))


def read_power(path: Path) -> Power:
    """Read what ``studies.gate_power.measure`` wrote.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    try:
        return Power.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise InputError(
            "this is no measurement of the gate's power",
            expected="the file python -m studies.gate_power.measure writes",
            got=faults(error),
            where=str(path),
            fix="run python -m studies.gate_power.measure --bundle build/default/jetson",
        ) from error


def table(power: Power) -> str:
    """Return the Markdown table: a row per planted regression, and per number of images the three shares."""
    counts = [trial.images for trial in power.points[0].trials]
    head = ["task", "noise", "true drop / budget", "interval / budget", f"verdict on {power.images}"]
    head += [f"N = {count}: regression / inconclusive / pass" for count in counts]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in power.tasks():
        lines += [_line(point) for point in power.of(name)]
    return "\n".join(lines)


def _line(point: Planted) -> str:
    low, high = (end / point.budget for end in point.interval)
    shares = [f"{_share(t.regression)} / {_share(t.inconclusive)} / {_share(t.passed)}" for t in point.trials]
    cells = [
        point.task,
        f"{point.noise:.3g}",
        f"{point.drop / point.budget:.2f}",
        f"{low:.2f} … {high:.2f}",
        point.verdict,
    ]
    return f"| {' | '.join([*cells, *shares])} |".replace("-", wording.MINUS)


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def mistakes(points: tuple[Planted, ...], margin: float = 0.0) -> tuple[float, float]:
    """Return the worst shares of false alarms (within budget, called regression) and of misses (beyond it, called pass).

    ``margin`` leaves out the drops nearer to the budget than that, in budgets.
    """
    alarms, misses = _wrong(points, margin)
    return max(alarms, default=0.0), max(misses, default=0.0)


def on(points: tuple[Planted, ...], images: int) -> tuple[Planted, ...]:
    """Return the points with the trials on so many images only."""
    return tuple(
        point.model_copy(update={"trials": tuple(trial for trial in point.trials if trial.images == images)})
        for point in points
    )


def worst_by_chance(draws: int, rows: int, rate: float = RATE, sure: float = 0.99) -> float:
    """Return the share of mistakes that the worst of so many rows stays within, with probability ``sure``.

    If every judgement errs with probability ``rate``, a row's mistakes are binomial, and the rows are drawn apart.
    """
    below, total = 0.0, sure ** (1 / rows)
    for mistaken in range(draws + 1):
        below += math.comb(draws, mistaken) * rate**mistaken * (1 - rate) ** (draws - mistaken)
        if below >= total:
            return mistaken / draws
    return 1.0


def overall(power: Power) -> tuple[float, float]:
    """Return the mean shares of the same two mistakes over all planted regressions and numbers of images."""
    alarms, misses = _wrong(power.points, 0.0)
    return sum(alarms) / max(len(alarms), 1), sum(misses) / max(len(misses), 1)


def _wrong(points: tuple[Planted, ...], margin: float) -> tuple[list[float], list[float]]:
    far = [point for point in points if abs(point.drop / point.budget - 1) >= margin]
    alarms = [trial.regression for point in far if point.drop <= point.budget for trial in point.trials]
    misses = [trial.passed for point in far if point.drop > point.budget for trial in point.trials]
    return alarms, misses


def detectable(points: tuple[Planted, ...], number: int, share: float) -> float | None:
    """Return the true drop, in budgets, from which ``share`` of the judgements on the ``number``-th count say ``regression``.

    Linear between the planted ones; None if the largest of them is not found that often.
    """
    found = [(point.drop / point.budget, point.trials[number].regression) for point in points]
    for (low, below), (high, above) in itertools.pairwise([(1.0, 0.0), *(pair for pair in found if pair[0] > 1.0)]):
        if above >= share:
            return low + (high - low) * (share - below) / (above - below) if above > below else high
    return None


def by_task(power: Power) -> str:
    """Return the Markdown table of each task: its worst row on either side, and from which drop on it is found four times in five."""
    head = [
        "task",
        "planted within / beyond",
        "within, called `regression` (worst row)",
        "beyond, called `pass` (worst row)",
    ]
    head += [f"found from, N = {trial.images}" for trial in power.points[0].trials]
    rows = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in power.tasks():
        points = power.of(name)
        within = sum(point.drop <= point.budget for point in points)
        drops = [detectable(points, number, FOUND) for number in range(len(points[0].trials))]
        largest = max(point.drop / point.budget for point in points)
        cells = [name, f"{within} / {len(points) - within}", *map(_share, mistakes(points))]
        cells += [f"more than {largest:.1f}" if drop is None else f"{drop:.1f}" for drop in drops]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def by_count(power: Power) -> str:
    """Return the Markdown table that says, by number of images, whether the gate errs more often than it states."""
    head = "| N | draws per row | within, called `regression` (worst row) | beyond, called `pass` (worst row) | a worst row by chance | the stated confidence |"
    lines = [head, "|---|---|---|---|---|---|"]
    for trial in power.points[0].trials:
        worst, chance = mistakes(on(power.points, trial.images)), worst_by_chance(trial.draws, len(power.points))
        kept = "kept" if max(worst) <= chance else "**not kept**"
        shares = " | ".join(f"{100 * share:.1f} %" for share in (*worst, chance))
        lines.append(f"| {trial.images} | {trial.draws} | {shares} | {kept} |")
    return "\n".join(lines) + (
        f"\n\n*By chance*: a gate that errs in exactly {100 * RATE:.1f} % of every row's judgements has a worst row of at most that, 99 times in 100."
    )


def section(power: Power, figure: str) -> str:
    """Return the generated section of the page."""
    (alarm, miss), (far_alarm, far_miss) = mistakes(power.points), mistakes(power.points, MARGIN)
    alarms, misses = overall(power)
    total = sum(trial.draws for point in power.points for trial in point.trials)
    return (
        f"{total:,} judgements of {len(power.points)} planted regressions of `{power.model}` (draws of N of its "
        f"{power.images} images, {power.resamples} resamples per judgement). Within the budget, {_share(alarms)} were called "
        f"`regression` (at worst {_share(alarm)} of one row's draws); beyond it, {_share(misses)} were called `pass` (at worst {_share(miss)}). "
        f"A quarter of a budget or more away from it, the worst are {_share(far_alarm)} and {_share(far_miss)}. "
        f"The gate allows {100 * RATE:.1f} % on either side.\n\n{by_count(power)}\n\n"
        f"![How often a planted regression is found, by its size]({figure})\n\n"
        "By task: how many of the planted drops lie within the budget and beyond it, the worst mistake on either side, and the true "
        f"drop, in budgets, from which {_share(FOUND)} of the judgements say `regression`. Nearer to the budget they say "
        f"`inconclusive`, which fails a build as well:\n\n{by_task(power)}\n\n"
        f"Every planted regression:\n\n{table(power)}\n"
    )


def draw_power(power: Power, out: Path) -> None:
    """Draw one panel per task: the shares of ``regression`` and ``pass`` against the true drop in budgets, into a PNG.

    Raises:
        TargetUnavailable: matplotlib is not installed.
    """
    names = power.tasks()
    figure, drawn = panels(len(names), PANEL_INCHES)
    for panel, name in zip(drawn, names, strict=True):
        points = power.of(name)
        drops = [point.drop / point.budget for point in points]
        for number, trial in enumerate(points[0].trials):
            style = LINES[number % len(LINES)]
            for verdict, shares in (
                ("regression", [point.trials[number].regression for point in points]),
                ("pass", [point.trials[number].passed for point in points]),
            ):
                label = f"{verdict}, N = {trial.images}"
                panel.plot(drops, shares, style, marker=".", color=COLOURS[verdict], label=label)  # type: ignore[index]
        panel.axvline(1.0, color="#59636e", lw=1)
        panel.axhline(0.025, color="#59636e", lw=0.5, ls=":")
        panel.set(title=name, xlabel="true drop / budget", ylabel="share of judgements", ylim=(-0.03, 1.03))
        panel.grid(alpha=0.3)
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles) // 2, frameon=False)
    save(figure, out)


def publish(power: Power, doc: Path, figure: Path) -> None:
    """Draw the figure and write the section of the document, which links it relative to itself."""
    draw_power(power, figure)
    relative = figure.resolve().relative_to(doc.resolve().parent).as_posix()
    replace_section(doc, SECTION, section(power, relative), title=TITLE)


def main(
    power: Annotated[Path, typer.Option(help="The file that python -m studies.gate_power.measure wrote.")],
    doc: Annotated[Path, typer.Option(help="The Markdown file with the section.")] = Path(
        "docs/studies/regression-power.md"
    ),
    figure: Annotated[Path, typer.Option(help="The PNG.")] = Path("docs/studies/regression-power.png"),
) -> None:
    """Draw the power of the gate and write its section again, from a measurement.

    Example: python -m studies.gate_power.page --power docs/studies/regression-power.json
    """
    publish(read_power(power), doc, figure)


if __name__ == "__main__":
    run_script(main)
