"""``tdss report``: draw the page of a bundle, or one page over many results."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.errors import InputError
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer
from bundle.formats.manifest import Bundle, load_bundle
from report.bundle_page.page import render
from report.results_page import render_sweep
from targets.base import Execute, RunConfig
from targets.open import open_session


def main(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="A bundle, for its page; or several bundles, regression.json files or archives sent back, for one over all."
        ),
    ],
    execute: Annotated[
        Execute, typer.Option(help="What runs the pictures: the device, its emulation, or what is here.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="A device of the target: CPU, GPU, NPU, AUTO.")] = "",
    stored_only: Annotated[bool, typer.Option(help="Show the stored reference only; run nothing.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where the page over many results goes. Default: report.html.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the page's path as JSON.")] = False,
) -> None:
    """Draw the page of a bundle, report.html, from the files in it; of several results one page: models × targets × devices.

    Example: tdss report build/default/intel

    Example: tdss report results/*.json --out results.html
    """
    [first, *others] = results
    if others or not first.is_dir():
        path = render_sweep(results, out or Path("report.html"))
    elif out is not None:
        raise InputError(
            "a bundle's page goes into the bundle",
            expected="--out only with several results",
            got="--out with one bundle",
            where="the command line",
            fix="leave --out away, or name several results",
        )
    else:
        path = render(load_bundle(first)) if stored_only else _render(load_bundle(first), execute, device)
    print_answer(dumps({"report": str(path)}) if as_json else str(path))


def _render(bundle: Bundle, execute: Execute, device: str) -> Path:
    session, _ = open_session(bundle, execute=execute, variant="", run=RunConfig(device=device))
    with session:
        return render(bundle, session.infer)
