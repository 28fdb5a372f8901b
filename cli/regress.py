"""``tdss regress``: judge a bundle on this machine, as ``pytest tests/regression`` does."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bundle.manifest import load_bundle
from bundle.regression import RegressionReport, require_passed, run, write_report
from report.tables import tasks_table
from targets.base import Execute, RunConfig
from targets.open import execution, open_session


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")],
    execute: Annotated[
        Execute, typer.Option(help="What must run it: the device, its emulation, or what is here.")
    ] = "auto",
    variant: Annotated[str, typer.Option(help="A precision the bundle holds; the shipped one by default.")] = "",
    device: Annotated[str, typer.Option(help="A device of the target: CPU, GPU, NPU, AUTO.")] = "",
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0: the runtime's choice.")] = 0,
    allow_inconclusive: Annotated[
        bool, typer.Option(help="Let a verdict pass that more images would have to settle.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print regression.json.")] = False,
) -> None:
    """Judge every task of a bundle on this machine against the stored reference; exit 1 if one is beyond its budget.

    The result of the shipped variant is written to the bundle's regression.json.

    Example: tdss regress build/default/intel --device CPU
    """
    opened = load_bundle(bundle)
    session, _ = open_session(opened, execute=execute, variant=variant, run=RunConfig(device=device, threads=threads))
    with session:
        report = run(opened, session.infer, execution(session), allow_inconclusive=allow_inconclusive)
    if variant in ("", opened.manifest.shipped):
        write_report(bundle, report)
    _show(report, as_json=as_json)
    require_passed(report)


def _show(report: RegressionReport, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(report.model_dump_json(by_alias=True) + "\n")
    else:
        Console().print(tasks_table(report))
