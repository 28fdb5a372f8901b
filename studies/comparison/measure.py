"""One run of the benchmark: its groups one after the other, and after each of them the result so far."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bundle.formats.outputs import require_container
from compile.stage.store import in_use, tool_versions
from studies.comparison.makers import Workshop
from studies.comparison.plan import BURST, FULL, GROUPS, QUICK, WARMUP, Plan, Settings, chosen
from studies.comparison.row_log import TOOLS
from studies.comparison.run import run_group
from studies.comparison.tables import Comparison, Row
from targets.isa import cpu_isa, cpu_name, read_cpuinfo

STORE = ".store"


class Asked(NamedTuple):
    """What the command line asks for; ``rounds`` 0 leaves them to the plan."""

    checkpoint: Path
    data: Path
    work: Path
    only: tuple[str, ...]
    threads: int
    rounds: int
    quick: bool

    @property
    def command(self) -> str:
        """The command that asks for it."""
        words = [f"--only {name}" for name in self.only] + (["--quick"] if self.quick else [])
        words += [f"--threads {self.threads}"] + ([f"--rounds {self.rounds}"] if self.rounds else [])
        return " ".join(["tdss bench", f"--checkpoint {self.checkpoint}", f"--data {self.data}", *words])


def measure(asked: Asked, keep: Callable[[Comparison], object], say: Callable[[str], None]) -> Comparison:
    """Measure what is asked for; ``keep`` gets the result after every group, whose earlier rows it holds too.

    Raises:
        InputError: the checkpoint, the data or a name cannot be used, or the folder cannot be written.
    """
    groups, ways = chosen(asked.only)
    require_container(asked.work)
    settings = _settings(asked)
    plan = Plan(asked.checkpoint, asked.data, asked.work.resolve(), settings)
    rows: tuple[Row, ...] = ()
    with in_use(plan.work / STORE):
        for name in groups:
            rows += run_group(GROUPS[name](plan, ways), Workshop(plan.work / STORE, asked.threads, say), plan.work)
            found = comparison(asked, rows, settings)
            keep(found)
    return found


def _settings(asked: Asked) -> Settings:
    settings = QUICK if asked.quick else FULL
    return settings._replace(rounds=(asked.rounds,) * 3) if asked.rounds else settings


def comparison(asked: Asked, rows: tuple[Row, ...], settings: Settings) -> Comparison:
    """Return the result that these rows make on this machine."""
    cpuinfo = read_cpuinfo()
    return Comparison(
        command=asked.command,
        machine=cpu_name(cpuinfo),
        isa=cpu_isa(cpuinfo),
        cpus=os.cpu_count() or 1,
        threads=asked.threads,
        rounds=settings.rounds,
        warmup=WARMUP,
        burst=BURST,
        images=settings.images,
        tools=tool_versions(*TOOLS),
        rows=rows,
    )
