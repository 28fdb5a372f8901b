"""``tdss report``: draw the page of a bundle."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from bundle.manifest import load_bundle
from report.page import render
from targets.base import Execute, RunConfig
from targets.open import open_session


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")],
    execute: Annotated[
        Execute, typer.Option(help="What runs the pictures: the device, its emulation, or what is here.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="A device of the target: CPU, GPU, NPU, AUTO.")] = "",
    stored_only: Annotated[bool, typer.Option(help="Show the stored reference only; run nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the page's path as JSON.")] = False,
) -> None:
    """Draw the page of a bundle, report.html, from the files in it.

    Example: tdss report build/default/intel
    """
    path = render(bundle) if stored_only else _render(bundle, execute, device)
    sys.stdout.write((json.dumps({"report": str(path)}) if as_json else str(path)) + "\n")


def _render(bundle: Path, execute: Execute, device: str) -> Path:
    session, _ = open_session(load_bundle(bundle), execute=execute, variant="", run=RunConfig(device=device))
    with session:
        return render(bundle, session.infer)
