"""``tdss bench``: what a user would do instead, timed beside what the compiler makes; a killed run goes on."""

from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from bundle.base.limits import LIMITS
from bundle.base.terminal import print_answer, say
from bundle.formats.outputs import Kind, json_object, marked, overwrite, require_file
from studies.comparison.tables import Comparison, markdown, read_comparison
from studies.generated_section import opening_mark, replace_section

JSON, TABLE, PLOT = "bench.json", "bench.md", "bench.png"
WRITTEN = json_object("machine", "isa", "rows")
SECTION = "written by tdss bench"
MARK = opening_mark(SECTION)


class Outputs(NamedTuple):
    """Where the answer goes: a folder for JSON, Markdown and picture, and a page whose table is replaced (None: no page)."""

    folder: Path
    page: Path | None


def main(
    checkpoint: Annotated[Path, typer.Option(help="The checkpoint of the default rows.")] = Path("models/default"),
    data: Annotated[Path, typer.Option(help="Its labelled folder.")] = Path("data/scenes"),
    out: Annotated[Path, typer.Option(help="The folder of the result, and of what a later run goes on with.")] = Path(
        "build/bench"
    ),
    page: Annotated[Path | None, typer.Option(help="A Markdown page whose generated section is replaced.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="A group or a row by name; may be repeated. Default: all.")
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, max=LIMITS["threads"].most, help="Threads, and CPUs, of every runtime.")
    ] = 2,
    rounds: Annotated[
        int, typer.Option(min=0, max=LIMITS["count"].most, help="Timed rounds of each group; 0: 25, 9 and 15.")
    ] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few images and rounds, a tiny model for the Swin-T: some minutes.")
    ] = False,
    draw: Annotated[
        bool, typer.Option("--draw", help="Measure nothing: draw table, picture and page from bench.json again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of the table.")] = False,
) -> None:
    """Time what a user would do instead beside this compiler's graphs, in one interleaved run, with what each costs in accuracy.

    Example: tdss bench --only default --only ours-int8 --only nncf
    """
    outputs = Outputs(out, page)
    require_outputs(outputs, [checkpoint, data])
    if not draw:
        from studies.comparison.measure import Asked, measure

        asked = Asked(checkpoint, data, out, tuple(only or ()), threads, rounds, quick)
        measure(asked, lambda found: overwrite(out / JSON, found.model_dump_json(indent=1) + "\n", WRITTEN), say)
    found = read_comparison(out / JSON)
    write(found, outputs)
    print_answer((out / JSON).read_text(encoding="utf-8") if as_json else markdown(found))


def require_outputs(outputs: Outputs, inputs: list[Path]) -> None:
    """Do nothing if every file may be written or written over.

    Raises:
        InputError: something else is there, or it is an input.
    """
    from report.drawing.image_encoding import PICTURES

    kinds: dict[str, Kind] = {JSON: WRITTEN, TABLE: marked(MARK.encode()), PLOT: PICTURES}
    for name, kind in kinds.items():
        require_file(outputs.folder / name, kind, inputs)


def write(found: Comparison, outputs: Outputs) -> None:
    """Write table, picture and page, all from the result."""
    from studies.comparison.plot import draw as draw_plot

    overwrite(outputs.folder / TABLE, f"{MARK}\n\n{markdown(found)}", marked(MARK.encode()))
    draw_plot(found, outputs.folder / PLOT)
    if outputs.page is not None:
        replace_section(outputs.page, SECTION, markdown(found), title="What a user would do instead")
