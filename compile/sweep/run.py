"""Run a sweep: every unit that the store has no results of, then one page over all.

``OUT/results/<unit>/`` has each unit's results, ``OUT/units/<unit>/`` its configuration, log and bundle on the machine that built it.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bundle.base.errors import InputError, RegressionFailed
from bundle.formats.folder_lock import alone
from bundle.formats.outputs import only, replacing, require_file
from bundle.judging.regression_report import read_report
from compile.stage.cluster import Places, require_places
from compile.stage.store import STORE, Kept, Root, StageKey, in_use, obtain, open_store
from compile.sweep.plan import SweepConfig, Unit, units_of
from compile.sweep.spread import run_all
from compile.sweep.unit import RESULTS, Outcome, order_of, unit_key
from report.results_page import PAGES, render_sweep
from targets.table import target

RESULTS_FOLDER, PAGE, MACHINE = "results", "report.html", ".machine"


class Row(NamedTuple):
    """One unit's end: its results' folder and whether all is within budget, or why there are none."""

    name: str
    folder: Path
    passed: bool
    reason: str = ""

    @property
    def standing(self) -> str:
        """Say it in a few words."""
        return f"not built: {self.reason}" if self.reason else "within budget" if self.passed else "not within budget"


def run_sweep(sweep: SweepConfig, where: Path, places: Places, say: Callable[[str], None]) -> tuple[Row, ...]:
    """Run every unit and write the page ``OUT/report.html``; ``where`` is the sweep's file, for errors.

    Raises:
        ConfigError: a table or a target is wrong, or the scheduler's address is refused.
        InputError: another sweep has the folder, or the store, the scheduler or an input cannot be used.
        TargetUnavailable: a package or a target's runtime is not installed.
    """
    require_places(places)
    for name in sweep.targets:
        target(name)
    units, out = units_of(sweep, where), sweep.out
    require_file(out / PAGE, PAGES)
    with alone(out, "sweep"):
        root = open_store(units[0].config.store, out / STORE)
        with in_use(root):
            rows = _run(units, root, out, places, say)
    return rows


def _run(units: Sequence[Unit], root: Root, out: Path, places: Places, say: Callable[[str], None]) -> tuple[Row, ...]:
    keys, rows = {unit.name: unit_key(unit.config) for unit in units}, dict[str, Row]()
    orders = [order_of(unit.name, unit.config, keys[unit.name], out.resolve() / MACHINE) for unit in units]

    def done(outcome: Outcome) -> None:
        row = _collect(outcome, keys[outcome.name], root, out / RESULTS_FOLDER / outcome.name, say)
        rows[row.name] = row
        say(f"{len(rows)} of {len(units)}: {row.name}: {row.standing}")

    run_all(orders, places, done)
    built = [rows[unit.name].folder for unit in units if not rows[unit.name].reason]
    if built:
        say(f"one page over all results: {render_sweep(built, out / PAGE)}")
    return tuple(rows[unit.name] for unit in units)


def _collect(outcome: Outcome, key: StageKey, root: Root, folder: Path, say: Callable[[str], None]) -> Row:
    """Copy a unit's results out of the store, checked by hash."""
    if outcome.reason:
        return Row(outcome.name, folder, passed=False, reason=outcome.reason)
    kept = obtain(root, Kept, key, _absent, say)
    with replacing(folder, only(*RESULTS)) as temporary:
        for name in kept.record.files:
            shutil.copyfile(kept.file(name), temporary / name)
    return Row(outcome.name, folder, passed=read_report(folder).passed)


def _absent(folder: Path) -> Kept:
    raise InputError(
        "a worker kept its results where this machine does not see them",
        expected="one store for the sweep and its workers",
        got="no entry",
        where=str(folder),
        fix="give a folder that all machines share, or a URL, as store in the sweep's file",
    )


def require_within(rows: Sequence[Row], page: Path) -> None:
    """Do nothing if every unit was built and is within its budgets.

    Raises:
        RegressionFailed: naming each unit that is not.
    """
    failed = [row.name for row in rows if not row.passed]
    if failed:
        raise RegressionFailed(
            f"{len(failed)} of {len(rows)} units are not within every budget, or were not built",
            expected="results with every check passed",
            got=", ".join(failed),
            where=str(page),
            fix="the lines above say why; the log of a unit is OUT/units/UNIT/log.txt",
        )
