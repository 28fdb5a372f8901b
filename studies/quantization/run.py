"""Study: the measured tables of docs/studies/quantization.md, each made again by one command.

    python -m studies.quantization.run --model build/.store/simplify/KEY --table schemes --table naive

The tables are those of studies/quantization/tables.py. Everything runs in emulation, exact per operator, on images that calibrate nothing. With
``--work`` what is costly (calibrations, each layer's sensitivity) is kept in a folder, and a killed run goes on from there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from pydantic import JsonValue

from bundle.base.errors import ConfigError
from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.formats.manifest import default_budgets
from bundle.formats.outputs import json_object, overwrite, require_file
from bundle.judging.verdict import Verdict
from bundle.tasks.dataset import SPEC_FILE, FolderDataset, load_spec
from calibration.sampling import choose, from_folder
from compile.graphs.load_onnx import import_graph
from compile.quantization.accuracy import AccuracyEvaluator, read_labelled
from compile.quantization.dequantize import read_macs
from compile.quantization.variants import CACHE
from compile.stage.command import run_script
from compile.stage.compare import open_graph
from compile.stage.graph_info import GRAPH_FILE, graph_info
from studies.generated_section import replace_section
from studies.quantization.tables import TABLES, Drops, Study

PAGE = Path("docs/studies/quantization.md")
ROWS = json_object("name", "drops", "upper")  # what a table's rows may be written over


MARKS: dict[Verdict, str] = {"pass": "{}", "inconclusive": "*{}*", "improvement": "*{}*", "regression": "**{}**"}


def table(rows: Sequence[Drops]) -> str:
    """Write rows as a Markdown table: drops in percent, the interval's upper end in brackets; bold breaks its budget."""
    tasks = list(rows[0].drops)
    head = ["", *tasks, "MB", "lint errors", "note"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        drops = [
            MARKS[row.verdicts.get(task, "pass")].format(f"{100 * row.drops[task]:.2f} [{100 * row.upper[task]:.2f}]")
            for task in tasks
        ]
        lines.append(f"| {' | '.join([row.name, *drops, f'{row.bytes / 1e6:.1f}', str(row.errors), row.note])} |")
    return "\n".join(lines)


def main(
    model: Annotated[Path, typer.Option(help="A folder that simplify wrote, or an ONNX file.")],
    tables: Annotated[list[str], typer.Option("--table", help=f"{', '.join(TABLES)}; repeatable.")],
    data: Annotated[Path, typer.Option(help="A labelled folder.")] = Path("data/scenes"),
    images: Annotated[
        int, typer.Option(min=1, max=LIMITS["count"].most, help="How many images of val to measure on.")
    ] = 148,
    count: Annotated[int, typer.Option(min=1, max=LIMITS["count"].most, help="How many calibration images.")] = 64,
    page: Annotated[Path, typer.Option(help="The page whose sections are rewritten.")] = PAGE,
    threads: Annotated[
        int, typer.Option(min=0, max=LIMITS["threads"].most, help="Threads; 0: the runtime's choice.")
    ] = 0,
    work: Annotated[Path | None, typer.Option(help="Where calibrations and sensitivities are kept, to resume.")] = None,
) -> None:
    """Measure tables of docs/studies/quantization.md again and rewrite them there, with their rows as JSON beside the page.

    Example: python -m studies.quantization.run --model build/simplified --table schemes --table naive --table calibration --table outliers
    """
    unknown = sorted(set(tables) - set(TABLES))
    if unknown:
        raise ConfigError(
            f"there is no table {unknown[0]!r}",
            expected=", ".join(TABLES),
            got=unknown[0],
            where="--table",
            fix="correct the name",
        )
    for name in tables:
        require_file(_rows_file(page, name), ROWS, [model, data])
    dataset = FolderDataset(root=data, spec=load_spec(data / SPEC_FILE))
    with TemporaryDirectory() as temporary:
        graph = import_graph(model, Path(temporary) / "adopted")
        info, source = graph_info(graph), graph.file(GRAPH_FILE)
        ids = choose(dataset.ids("val"), images, seed=0)
        evaluator = AccuracyEvaluator(
            read_labelled(dataset, ids, info), info, default_budgets(info.tasks, strict=False), 0
        )
        with open_graph(source, exact=False, threads=threads) as session:
            evaluator.set_reference(session.infer)
        drawn = from_folder(data, "calibration", count, seed=0, preprocess=info.preprocess)
        cache, macs = (work or Path(temporary)) / CACHE, read_macs(source)
        for name in tables:
            scratch = Path(temporary) / name
            scratch.mkdir()
            counts, rows = (len(ids), len(drawn.ids)), list[Drops]()
            for row in TABLES[name](Study(source, info, drawn, evaluator, dataset, scratch, cache, threads)):
                rows.append(row)
                _write(page, name, rows, counts, macs)  # after each row: a killed run leaves what it measured


def _write(page: Path, name: str, rows: Sequence[Drops], counts: tuple[int, int], macs: Mapping[str, int]) -> None:
    """Replace a table on the page; ``counts`` are the images of val and of the calibration."""
    command = f"python -m studies.quantization.run --model … --table {name} --images {counts[0]} --count {counts[1]}"
    images = f"{counts[0]} images of val, {counts[1]} calibration images"
    said = f"`{command}`: {images}, {sum(macs.values()) / 1e9:.2f} GMAC. Relative drop in %,"
    body = f"{said}\n[upper end of its 95 % interval]; negative is better; **bold**: beyond the budget, *italic*: undecided.\n\n{table(rows)}"
    replace_section(page, name, body, title="Quantization")
    data: JsonValue = [row.model_dump(mode="json") for row in rows]
    overwrite(_rows_file(page, name), dumps(data, indent=1) + "\n", ROWS)


def _rows_file(page: Path, name: str) -> Path:
    return page.with_name(f"quantization-{name}.json")


if __name__ == "__main__":
    run_script(main)
