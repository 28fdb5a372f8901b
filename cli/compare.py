"""``tdss compare``: two results against each other, task by task and image by image."""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.terminal import print_answer
from bundle.formats.outputs import require_file
from bundle.judging.comparison import Given, compare_results
from compile.stage.console import EscapingConsole
from report.comparison_page import PAGES, render_comparison
from report.comparison_table import comparison_table, notes
from report.results_page import read_result

ResultPath = typer.Argument(help="A judged bundle, a regression.json, or an archive that a device sent back.")


def main(
    a: Annotated[Path, ResultPath],
    b: Annotated[Path, ResultPath],
    out: Annotated[Path | None, typer.Option(help="Write a page too, with each image.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON, with each image.")] = False,
) -> None:
    """Compare two results task by task and image by image: two bundles, two variants, or one bundle on two devices.

    Nothing is run and nothing is gated: tdss regress --baseline does that. Only what both results have is compared, and
    the rest is named.

    Example: tdss compare build/default/intel build/default/jetson --out compare.html
    """
    if out is not None:
        require_file(out, PAGES, [a, b])
    results = (read_result(path) for path in (a, b))
    comparison = compare_results(*(Given(one.source, one.report, one.latency_ms) for one in results))
    if out is not None:
        render_comparison(comparison, out)
    if as_json:
        print_answer(comparison.model_dump_json(indent=2))
        return
    console = EscapingConsole()
    console.print(comparison_table(comparison))
    for line in notes(comparison):
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        console.print(f"written: {out}", soft_wrap=True)
