"""Study: how much faster a build searches and judges on two workers. Contenders take turns in rounds, on equal stores.

    python -m studies.spread --rounds 3

Every build has the same stages up to the engine in its store, and no part of a judgement or of a search. A host does not time
the target, so all seconds of the two stages are work. Budgets are strict, so that plain INT8 breaks one and a search runs.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

import typer

from bundle.base.errors import SessionFailed
from bundle.base.isolated import module
from bundle.base.limits import LIMITS
from bundle.base.terminal import print_answer, say
from bundle.formats.artifacts import SIDECAR, Record
from bundle.formats.outputs import require_container
from bundle.judging.timing import Load, glance, load_between
from compile.evaluation.timing import ratio
from compile.stage.command import run_script
from compile.stage.store import STORE
from studies.command_journal import ANSWERED
from studies.generated_section import replace_section
from targets.base import RunConfig
from targets.reference.target import REFERENCE

SECTION, TITLE = "written by studies.spread", "Search and judgement on workers"
MEASURED = ("judge", "search")
SPENT = re.compile(rf"({'|'.join(MEASURED)}): done in ([0-9.]+) s")
MADE_HERE = (*MEASURED, "images", "trial", "layers")


class Contender(NamedTuple):
    """One way to run the same build."""

    name: str
    threads: int
    workers: int

    @property
    def words(self) -> tuple[str, ...]:
        """Its options."""
        return ("--threads", str(self.threads), "--workers", str(self.workers))


CONTENDERS = (
    Contender("one worker, one thread", 1, 1),
    Contender("two workers, one thread each", 1, 2),
    Contender("no worker, two threads", 2, 0),
)
ONE = CONTENDERS[0]


class Spent(NamedTuple):
    """Seconds of one build by stage, and the hash of what its search left."""

    seconds: dict[str, float]
    found: str

    @property
    def whole(self) -> float:
        """Seconds of both stages."""
        return sum(self.seconds.values())


def build(words: Sequence[str], out: Path) -> Spent:
    """Run one build to its end.

    Raises:
        SessionFailed: it left no bundle.
    """
    line = module("cli.main", "pipeline", *words, "--out", str(out))
    ran = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if ran.returncode not in ANSWERED:
        raise SessionFailed(
            "a build of the study failed",
            expected=f"exit code {' or '.join(map(str, ANSWERED))}",
            got=ran.stderr[-500:],
            where=" ".join(words),
            fix="correct what the build names",
        )
    seconds = dict.fromkeys(MEASURED, 0.0)
    for stage, spent in SPENT.findall(ran.stderr):
        seconds[stage] += float(spent)
    found = [Record.model_validate_json(one.read_bytes()).sha256 for one in (out / STORE).glob(f"search/*/{SIDECAR}")]
    return Spent(seconds, " ".join(found))


def prepare(words: Sequence[str], base: Path) -> None:
    """Build all that comes before the two stages; a second call takes seconds."""
    build((*words, "--no-search"), base)
    for stage in MADE_HERE:
        shutil.rmtree(base / STORE / stage, ignore_errors=True)


def measure(words: Sequence[str], out: Path, rounds: int) -> Iterator[dict[str, Spent]]:
    """Yield for each round what each contender spent, each on a fresh copy of the store."""
    for threads in sorted({one.threads for one in CONTENDERS}):
        say(f"stages before the two, with --threads {threads}")
        prepare((*words, "--threads", str(threads)), out / f"base-{threads}")
    for number in range(rounds):
        spent = {}
        for one in CONTENDERS:
            folder = out / "turn"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(out / f"base-{one.threads}" / STORE, folder / STORE)
            spent[one.name] = build((*words, *one.words), folder)
            say(f"round {number + 1} of {rounds}: {one.name}: {spent[one.name].whole:.1f} s")
        yield spent


def markdown(rows: Sequence[dict[str, Spent]], words: Sequence[str], load: Load) -> str:
    """Return the table, and below it whether results were equal and how busy the machine was."""
    lines = ["| where | judge, s | search, s | both, s | one worker's time over it |", "| -- | -- | -- | -- | -- |"]
    for one in CONTENDERS:
        spent = [row[one.name] for row in rows]
        stages = [f"{median(each.seconds[stage] for each in spent):.1f}" for stage in MEASURED]
        over = ratio([row[ONE.name].whole for row in rows], [each.whole for each in spent])
        times = f"{over.median:.2f} ({over.low:.2f} to {over.high:.2f})"
        lines.append(f"| {one.name} | {' | '.join(stages)} | {median(each.whole for each in spent):.1f} | {times} |")
    able = REFERENCE.capabilities(RunConfig())
    found = {row[one.name].found for row in rows for one in CONTENDERS if one.threads == ONE.threads}
    same = "are equal hash for hash" if len(found) == 1 else "**differ**"
    averages = [f"{one[0]:.1f}" if one else "not known" for one in (load.before, load.after)]
    return "\n".join(
        [
            *lines,
            "",
            f"`tdss pipeline {' '.join(words)}` on {able.device_name} ({', '.join(able.isa)}), {load.cpus} CPUs. Medians of "
            f"{len(rows)} rounds; of ratios the quartiles too. Load over a minute before and after: {', '.join(averages)}.",
            "",
            f"What the searches with one thread found: they {same}.",
        ]
    )


def main(
    target: Annotated[str, typer.Option(help="A target that this machine emulates.")] = "jetson",
    checkpoint: Annotated[Path, typer.Option(help="The checkpoint's folder.")] = Path("models/default"),
    data: Annotated[Path, typer.Option(help="A labelled folder.")] = Path("data/scenes"),
    rounds: Annotated[int, typer.Option(min=1, max=LIMITS["count"].most, help="How many rounds.")] = 3,
    images: Annotated[
        int, typer.Option(min=1, max=LIMITS["count"].most, help="How many calibrate, and how many judge.")
    ] = 64,
    out: Annotated[Path, typer.Option(help="For the builds.")] = Path("build/spread"),
    page: Annotated[Path, typer.Option(help="The page whose table is replaced.")] = Path("docs/studies/spread.md"),
) -> None:
    """Compare search and judgement on one worker, on two, and in the build's own process.

    Example: python -m studies.spread --rounds 3
    """
    require_container(out)
    model = ("--target", target, "--checkpoint", str(checkpoint), "--data", str(data), "--budgets", "strict")
    words = (*model, "--calibration-count", str(images), "--evaluation-count", str(images))
    before = glance()
    rows = list(measure(words, out, rounds))
    text = markdown(rows, words, load_between(before, glance()))
    replace_section(page, SECTION, text, title=TITLE)
    print_answer(text)


if __name__ == "__main__":
    run_script(main)
