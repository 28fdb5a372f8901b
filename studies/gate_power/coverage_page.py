"""What the gate's 95 % is worth, as tables: coverage by interval and number of images, and several verdicts together.

``studies.gate_power.coverage`` measures it and has it written here between two marks of docs/studies/regression-power.md.
"""

from pathlib import Path

from bundle.base.frozen import Frozen
from studies.gate_power.page import TITLE
from studies.generated_section import replace_section

SECTION = "written by studies.gate_power.coverage"


class Cover(Frozen):
    """How often each interval held the true drop, and how often it ended below it, over ``trials`` draws of ``images`` images."""

    task: str
    images: int
    trials: int
    held: dict[str, float]
    below: dict[str, float]


class Together(Frozen):
    """Verdicts at the budget: the shares of single ones that err, of builds with one, of draws in which one variant passes.

    ``builds`` is draws × variants; ``any_regression`` is over builds of all tasks, ``any_pass`` by task over draws.
    """

    images: int
    builds: int
    draws: int
    variants: int
    regression: float
    passed: float
    any_regression: float
    any_pass: dict[str, float]


class Coverage(Frozen):
    """A whole measurement."""

    schema_version: int = 1
    model: str
    resamples: int
    covers: tuple[Cover, ...]
    together: Together


def table(found: Coverage) -> str:
    """Return the Markdown table: a row per number of images, per interval the mean over tasks, the worst task, the false passes."""
    methods = list(found.covers[0].held)
    head = ["n", *(f"{method}: mean (worst task), ends below the truth" for method in methods)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for images in dict.fromkeys(cover.images for cover in found.covers):
        rows = [one for one in found.covers if one.images == images]
        cells = [_cell([row.held[method] for row in rows], [row.below[method] for row in rows]) for method in methods]
        lines.append(f"| {images} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(held: list[float], below: list[float]) -> str:
    mean, beyond = sum(held) / len(held), sum(below) / len(below)
    return f"{100 * mean:.1f} % ({100 * min(held):.1f} %), {100 * beyond:.1f} %"


def section(found: Coverage) -> str:
    """Return the generated section of the page."""
    several, trials = found.together, found.covers[0].trials
    passes = list(several.any_pass.values())
    return (
        f"{len(found.covers) * trials:,} draws of n images that count for the task, with replacement, from those of "
        f"`{found.model}`; {several.variants} planted variants per task, {found.resamples} resamples per interval. The share of "
        f"intervals that hold the true drop (95 % is stated), and of those that end below it (2.5 % are: a false pass at the "
        f"budget):\n\n{table(found)}\n\n"
        f"Every task of every variant exactly at its budget, on the same {several.images} images ({several.draws:,} draws): of "
        f"single verdicts {100 * several.regression:.1f} % are `regression` and {100 * several.passed:.1f} % `pass`. "
        f"**{100 * several.any_regression:.1f} % of the builds show a `regression` in one of {len(passes)} tasks. "
        f"In {100 * sum(passes) / len(passes):.1f} % of the draws one of {several.variants} variants passes a task** (by task "
        f"{100 * min(passes):.1f} to {100 * max(passes):.1f} %).\n"
    )


def publish(found: Coverage, doc: Path) -> None:
    """Write the section of the document."""
    replace_section(doc, SECTION, section(found), title=TITLE)
