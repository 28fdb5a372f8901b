"""``tdss sweep``: many builds from one file, here or on a Dask cluster, and one page over all."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer, say
from compile.stage.cluster import Places
from compile.sweep.plan import read_sweep
from compile.sweep.run import PAGE, require_within, run_sweep


def main(
    sweep: Annotated[Path, typer.Argument(help="The sweep's TOML file.")],
    workers: Annotated[
        int,
        typer.Option(
            min=0, max=LIMITS["threads"].most, help="Run on this many processes of this machine. Default: one by one."
        ),
    ] = 0,
    scheduler: Annotated[str, typer.Option(help="Run on this Dask cluster: tls://HOST:PORT.")] = "",
    certificates: Annotated[
        Path | None, typer.Option(help="For tls://: a folder with ca.pem, cert.pem and key.pem.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow tcp://: whoever reaches it runs code on its workers.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the units as JSON.")] = False,
) -> None:
    """Build every model for every target with every variant and seed of a file.

    One page shows all results.

    The same command resumes a sweep that was killed. A unit whose results the store has is not built again.

    Example: tdss sweep sweep.toml --workers 2
    """
    asked = read_sweep(sweep)
    rows = run_sweep(asked, sweep, Places(workers, scheduler, certificates, insecure), say)
    if as_json:
        print_answer(dumps([row._asdict() | {"folder": str(row.folder)} for row in rows]))
    else:
        print_answer("\n".join(f"{row.name}: {row.standing}" for row in rows))
    require_within(rows, asked.out / PAGE)
