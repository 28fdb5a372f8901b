"""Study: the table of docs/studies/zoo.md, from the checkpoints that the repository ships; a killed run goes on.

    python -m studies.zoo.run --only mtlora

Every command of a row is run (studies/zoo/jobs.py), then the tables and one page over all bundles are made from what they left.
"""

from pathlib import Path
from typing import Annotated

import typer

from bundle.base.errors import RegressionFailed
from bundle.base.limits import LIMITS
from bundle.base.terminal import print_answer, say
from bundle.formats.outputs import require_container, require_file
from compile.stage.command import run_script
from report.results_page import PAGES, render_sweep
from studies.bundle_files import Made
from studies.generated_section import replace_section
from studies.zoo.jobs import Terms, run_rows
from studies.zoo.results import Result, read_row
from studies.zoo.rows import ZOO, read_rows
from studies.zoo.tables import markdown

SECTION, TITLE = "written by studies.zoo.run", "The zoo"
REPORT = "report.html"
IMAGES = 100


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Run this row; may be repeated. The tables have all. Default: all.")
    ] = None,
    zoo: Annotated[Path, typer.Option(help="The folder of the rows.")] = ZOO,
    data: Annotated[Path, typer.Option(help="A labelled folder.")] = Path("data/scenes"),
    out: Annotated[Path, typer.Option(help="For bundles, journals and the stage store.")] = Path("build/zoo"),
    page: Annotated[Path, typer.Option(help="The page whose tables are replaced.")] = Path("docs/studies/zoo.md"),
    evaluation_count: Annotated[
        int, typer.Option(min=1, max=LIMITS["count"].most, help="How many images of val judge each bundle.")
    ] = IMAGES,
    at_once: Annotated[
        int,
        typer.Option(min=1, max=LIMITS["count"].most, help="How many rows are built at once: one waits, now and then."),
    ] = 3,
    draw: Annotated[bool, typer.Option("--draw", help="Run nothing: make tables and page of what is there.")] = False,
) -> None:
    """Build each row of the zoo for two targets, and write its tables and one page over all bundles.

    Example: python -m studies.zoo.run --only mtlora
    """
    rows, terms = read_rows(zoo), Terms(data, evaluation_count, out)
    chosen = read_rows(zoo, tuple(only or ()))
    require_container(out)
    require_file(out / REPORT, PAGES)
    if not draw:
        run_rows(chosen, terms, at_once, say)
    results = [read_row(row, terms) for row in rows]
    text = markdown(results, terms)
    replace_section(page, SECTION, text, title=TITLE)
    folders = [one.folder for result in results for one in result.bundles.values() if isinstance(one, Made)]
    if folders:
        say(f"one page over all bundles: {render_sweep(folders, out / REPORT)}")
    print_answer(text)
    require_green([result for result in results if result.row in chosen])


def require_green(results: list[Result]) -> None:
    """Do nothing if each row left everything, and everything passes every check.

    Raises:
        RegressionFailed: naming each row that does not.
    """
    failed = [result.row.name for result in results if not result.green]
    if failed:
        raise RegressionFailed(
            f"{len(failed)} of {len(results)} rows are not within every budget, or were not built",
            expected="bundles for every target, with every check passed",
            got=", ".join(failed),
            where="make zoo",
            fix="the tables say what failed; report.html of a bundle says more",
        )


if __name__ == "__main__":
    run_script(main)
