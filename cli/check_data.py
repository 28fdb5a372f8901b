"""``tdss data check``: every problem of every file of a labelled folder, in one run."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from bundle.base.errors import InputError
from bundle.base.limits import LIMITS
from bundle.base.terminal import print_answer
from bundle.judging import wording
from bundle.tasks.preprocess import Preprocess
from compile.stage.console import EscapingConsole
from labelled_folder.check import Use, check_folder
from labelled_folder.findings import Finding, FolderReport, TaskCount

_SIDE = LIMITS["image_side"].most
SHOWN = 5  # sizes of images


def main(
    folder: Annotated[Path, typer.Argument(help="A labelled folder.")],
    dataset: Annotated[Path | None, typer.Option(help="The data's spec. Default: dataset.json in the folder.")] = None,
    tasks: Annotated[str, typer.Option(help="These only: semseg,depth. Default: each with a folder.")] = "",
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(
            min=1, max=_SIDE, metavar="H W", help="Name each image that has not the model's rows and columns."
        ),
    ] = None,
    evaluation_split: Annotated[str, typer.Option(help="Whose images judge.")] = "val",
    calibration_split: Annotated[str, typer.Option(help="Whose images calibrate.")] = "calibration",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 on a warning, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """List every problem of every file of a labelled folder, and count what is in it.

    Exit codes: 0 a build takes the folder, 2 it does not.

    Example: tdss data check my-data --size 224 224
    """
    use = Use(
        evaluation=evaluation_split,
        calibration=calibration_split,
        tasks=tuple(tasks.split(",")) if tasks else (),
        size=None if size is None else Preprocess(height=size[0], width=size[1]),
    )
    report = check_folder(folder, dataset, use, _progress)
    print_answer(report.model_dump_json() if as_json else "\n".join(lines(report)))
    if report.of("error") or (strict and report.of("warning")):
        raise SystemExit(InputError.exit_code)


def _progress(ids: Iterable[str]) -> Iterable[str]:
    return track(list(ids), description="images", console=EscapingConsole(stderr=True))


def lines(report: FolderReport) -> Iterator[str]:
    """Yield the report as text: what is there, then what is wrong, errors last."""
    yield f"{report.folder}: {_sizes(report.sizes)}"
    for split in report.splits:
        yield f"{split.split}: {split.ids} ids"
        for count in split.tasks:
            yield from _task(count)
    warnings, errors = report.of("warning"), report.of("error")
    for finding in (*warnings, *errors):
        yield from _finding(finding)
    yield f"{wording.plural(len(errors), 'error')}, {wording.plural(len(warnings), 'warning')}"


def _sizes(counts: Mapping[str, int]) -> str:
    """Say how many images have which size, the most frequent first; of many sizes only those, JSON has all."""
    ranked = sorted(counts.items(), key=lambda entry: -entry[1])
    shown = [f"{wording.plural(count, 'image')} of {size}" for size, count in ranked[:SHOWN]]
    return ", ".join(shown) + (f", and {len(ranked) - SHOWN} more sizes" if len(ranked) > SHOWN else "")


def _task(count: TaskCount) -> Iterator[str]:
    yield f"  {count.task}: {count.usable} labels, {count.missing} missing, {count.counted} count for its metric"
    values = [f"{name} {share:.2%} in {count.images[name]}" for name, share in count.pixels.items()]
    yield f"    {', '.join(values)}"


def _finding(finding: Finding) -> Iterator[str]:
    yield f"{finding.severity}: {finding.message}"
    for name in ("expected", "got", "where", "fix"):
        yield f"  {name + ':':<9} {getattr(finding, name)}"
