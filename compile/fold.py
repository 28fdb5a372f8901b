"""Fold: a simplified graph to the same function with its linear maps composed where that pays, proven in float64 on real images.

First come the outputs that were asked for, and gates are frozen if that was asked for. The artifact holds model.onnx (float32,
composed in float64 and cast once) and fold.json: what that changed, then a line for every value that the fold had a choice about.
The command also takes a checkpoint, which it exports and simplifies first, and an ONNX file of any origin.
"""

if not __package__:
    import _path  # noqa: F401

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from pydantic import TypeAdapter

from bundle.base.errors import InputError
from bundle.base.isolated import ROOT
from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer, say
from bundle.formats.artifacts import SIDECAR, Folded, Simplified, load, write_text
from bundle.formats.fold import FOLD, FoldPicture, FoldProof, FoldRecord, FoldSettings
from bundle.tasks.dataset import SPEC_FILE, FolderDataset, load_spec
from bundle.tasks.preprocess import Preprocess
from calibration.image_files import ImageFiles, fitted_images
from compile.stage.artifacts import FoldedSettings, SimplifiedSettings, folding_of
from compile.stage.command import announce, claim, run_script, timed
from compile.stage.config import FoldMode, FreezeOptions, require_mode
from compile.stage.console import EscapingConsole
from compile.stage.graph_info import GRAPH_FILE, GraphInfo, graph_info, read_settings
from compile.stage.options import FOLD_MODE, SHIPPED_DATA, TARGETS, Split, Threads, completing
from compile.stage.shipped import DATA
from compile.stage.store import seal, stage_tools, writing
from targets.folding import Rates, rates_of

if TYPE_CHECKING:
    import onnx_ir as ir


NOTHING_PAYS = "the graph with its values eliminated would cost the target no less"
NO_PROOF = FoldProof(images=0, float64={}, float32={})  # nothing was changed
USUAL = "reference"  # whose costs decide where no target is named


class Folding(NamedTuple):
    """A folded float32 graph, None where the graph given is left as it is, its proof, what was decided, and one part drawn."""

    model: "ir.Model | None"
    proof: FoldProof
    lines: tuple[FoldRecord, ...]
    picture: FoldPicture | None = None


class Prepared(NamedTuple):
    """The graph to fold, as it was asked for: its contract, and what was decided to make it."""

    model: "ir.Model"
    info: GraphInfo
    lines: tuple[FoldRecord, ...]


def fold(
    simplified: Simplified,
    out: Path,
    images: ImageFiles,
    mode: FoldMode,
    rates: Rates,
    progress: Callable[[str], None],
    *,
    threads: int,
    tasks: Sequence[str] = (),
    freezing: FreezeOptions | None = None,
) -> Folded:
    """Write a ``Folded`` artifact in ``out``: the graph with its linear maps composed where that pays, proven on ``images``.

    It answers ``tasks`` only, all where none is named; ``freezing`` says on what gates are frozen first, None that none are.
    ``rates`` are what work costs the target. ``threads`` are those of the float32 runs; 0 leaves their number to the runtime.

    Raises:
        ConfigError: a task is not one of the graph's.
        DatasetError: an image or a label cannot be read.
        GraphError: the graph's own outputs are not finite, or folding changed what it computes; the elimination is named.
    """
    from onnx_ir import save

    from compile.folding.graph_file import read_graph
    from compile.folding.tables import costs_by_scope, part_costs

    whole, source = read_graph(simplified.file(GRAPH_FILE)), simplified.file(GRAPH_FILE)
    model, info, decided = _prepare(Prepared(whole, graph_info(simplified), ()), tasks, freezing, progress, threads)
    with writing(out, Folded) as folder, TemporaryDirectory() as scratch:
        target = folder / GRAPH_FILE
        if model is not whole:
            source = Path(scratch) / GRAPH_FILE
            save(model, source)
        done = _eliminate(model, info, images, rates, progress) if mode == "cost" else Folding(None, NO_PROOF, ())
        if done.model is None:
            shutil.copyfile(source, target)
        else:
            save(done.model, target)
            done = done._replace(proof=_check_single(done.proof, source, target, info, images, threads))
        lines = (*decided, *done.lines)
        write_text(folder / FOLD, dumps([line.model_dump() for line in lines], indent=1))
        before, after = costs_by_scope(whole), costs_by_scope(done.model or model)
        own = FoldSettings(
            mode=mode,
            proof=done.proof,
            tasks=tuple(info.tasks),
            freeze_gates=any(not line.exact for line in lines),
            rates=rates.model_dump(),
            parts=part_costs(before, after, graph_info(simplified).tasks),
            picture=done.picture,
        )
        preparation = read_settings(SimplifiedSettings, simplified).preparation
        settings = FoldedSettings(graph=info, fold=own, preparation=preparation)
        seal(Folded, folder, parent=simplified.sha256, settings=settings, tools=stage_tools("fold"))
    return load(Folded, out)


def _prepare(
    whole: Prepared, tasks: Sequence[str], freezing: FreezeOptions | None, progress: Callable[[str], None], threads: int
) -> Prepared:
    """Drop the outputs that are not asked for, then freeze gates if asked to: both change what the graph computes."""
    from compile.folding.gate_freezing import freeze_gates
    from compile.folding.task_subset import keep_outputs, subset_line

    model, info, lines = whole
    if tasks:
        model = keep_outputs(whole.model, tasks)
        kept = {str(output.name): info.tasks[str(output.name)] for output in model.graph.outputs}
        if len(kept) < len(info.tasks):
            info, lines = info.model_copy(update={"tasks": kept}), (subset_line(whole.model, model),)
        else:
            model = whole.model
    if freezing is not None:
        model, frozen = freeze_gates(model, info, freezing, progress, threads=threads)
        lines = (*lines, *frozen)
    return Prepared(model, info, lines)


def _eliminate(
    model: "ir.Model", info: GraphInfo, images: ImageFiles, rates: Rates, progress: Callable[[str], None]
) -> Folding:
    """Choose, prove in float64, and cast; the float32 check is still to be made."""
    from compile.folding.choice.price import graph_price
    from compile.folding.engine import cast, eliminate
    from compile.folding.graph_file import decisions
    from compile.folding.picture import picture
    from compile.folding.proof import as_record, prove
    from compile.folding.tables import ELIMINATION, fold_lines, macs_saved

    feeds = [info.feed(image, name=name) for name, image in images.read()]
    found = eliminate(model, rates, progress)
    if graph_price(found.model, rates) >= graph_price(model, rates):
        line = FoldRecord(
            module="",
            rule=ELIMINATION,
            decision="kept",
            reason=NOTHING_PAYS,
            exact=True,
            max_abs_error=0.0,
            params_before=0,
            params_after=0,
            macs_before=0,
            macs_after=0,
        )
        return Folding(None, NO_PROOF, (line,))
    progress(f"fold: proving on {len(feeds)} images")
    exact = prove(model, found, feeds, rates)
    folded = cast(found.model)
    lines = tuple(fold_lines(model, folded, decisions(found, rates), max(exact[1].values())))
    drawn = picture(found.network, found.found.kept, macs_saved(model, folded))
    return Folding(folded, as_record(exact, ({}, {}), len(feeds)), lines, drawn)


def _check_single(
    proof: FoldProof, source: Path, target: Path, info: GraphInfo, images: ImageFiles, threads: int
) -> FoldProof:
    """Compare both graphs in float32 on ONNX Runtime, and return the proof with what was found."""
    from compile.folding.graph_file import read_graph
    from compile.folding.proof import floors_of, require_single, worst
    from compile.stage.compare import run_graph

    feeds = [info.feed(image, name=name) for name, image in images.read()]
    want, got = (run_graph(path, info, feeds, exact=False, threads=threads) for path in (source, target))
    measured = worst(zip(want, got, strict=True))
    fix = "build with folding off (--fold none), and report the checkpoint's config.toml"
    require_single(measured, floors_of(read_graph(source), feeds), fix=fix)
    relative, absolute = measured
    return proof.model_copy(update={"float32": relative, "float32_max_abs": absolute})


class Asked(NamedTuple):
    """What a command line asks for besides the model and where to write."""

    images: Path
    split: str
    proven: int
    calibration: int
    tasks: str
    mode: FoldMode
    target: str
    threads: int
    freeze_gates: bool


def _simplified(checkpoint: Path, scratch: Path, asked: Asked) -> Simplified:
    """Export and simplify a checkpoint in ``scratch``."""
    from compile.export import checkpoint_images, export
    from compile.simplify import simplify

    few = checkpoint_images(checkpoint, asked.images, asked.split).first(asked.proven)
    with timed("export"):
        exported = export(checkpoint, scratch / "exported", "raw", few, say, threads=asked.threads)
    with timed("simplify"):
        return simplify(exported, scratch / "simplified", few, threads=asked.threads)


def _freezing(model: Path, images: ImageFiles, preprocess: Preprocess, asked: Asked) -> FreezeOptions | None:
    """Return what freezing sees: labels are those of a labelled folder, scales those of a checkpoint's card."""
    from tdss.card import load_card

    if not asked.freeze_gates:
        return None
    spec, card, size = asked.images / SPEC_FILE, load_card(model), (preprocess.height, preprocess.width)
    return FreezeOptions(
        images=images.first(asked.calibration),
        labels=FolderDataset(root=asked.images, spec=load_spec(spec), size=size) if spec.is_file() else None,
        scales={} if card is None else card.metrics,
    )


def main(
    model: Annotated[
        Path,
        typer.Argument(
            help="The folder that simplify wrote, a checkpoint folder (config.toml + model.safetensors), or an .onnx file."
        ),
    ],
    images: Annotated[
        Path, typer.Option(help="A labelled folder, or a folder of images.", show_default=SHIPPED_DATA)
    ] = ROOT / DATA,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder to write, the file for an .onnx; relative to the working directory. Not needed with --explain."
        ),
    ] = None,
    mode: Annotated[str, FOLD_MODE] = "cost",
    tasks: Annotated[str, typer.Option(help="Keep these only, of an .onnx outputs: semseg,depth. Default: all.")] = "",
    freeze_gates: Annotated[
        bool, typer.Option("--freeze-gates", help="Approximate: freeze the gates that the budgets allow.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print the decisions, module by module.")] = False,
    split: Split = "calibration",
    count: Annotated[
        int,
        typer.Option(
            min=1, max=LIMITS["count"].most, help="How many images, or random inputs of an .onnx, the proof uses."
        ),
    ] = 2,
    inputs: Annotated[Path | None, typer.Option(help="For an .onnx: an .npz with an array for every input.")] = None,
    target: Annotated[str, typer.Option(help="Whose costs decide.", autocompletion=completing(*TARGETS))] = USUAL,
    calibration: Annotated[
        int, typer.Option(min=0, max=LIMITS["count"].most, help="How many images the analysis and the freezing use.")
    ] = 8,
    threads: Threads = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record, or with --explain the table, as JSON.")
    ] = False,
) -> None:
    """Compose the linear maps of a graph, a checkpoint or an ONNX file, and prove that the outputs are the same.

    Example: tdss fold models/default --explain; tdss fold model.onnx --out folded.onnx
    """
    asked = Asked(
        images, split, count, calibration, tasks, require_mode(mode), target, threads, freeze_gates=freeze_gates
    )
    _check_words(model, out, asked, inputs, explain=explain)
    if model.suffix == ".onnx":
        _fold_file(model, out, inputs, asked, explain=explain, as_json=as_json)
    else:
        _fold_folder(model, out, asked, explain=explain, as_json=as_json)
    if explain and out is not None:
        say(f"written: {out}")


def _check_words(model: Path, out: Path | None, asked: Asked, inputs: Path | None, *, explain: bool) -> None:
    """Refuse options that do not go together."""
    is_file = model.suffix == ".onnx"
    if out is None and not explain:
        fix = f"give the {'file' if is_file else 'folder'} to write with --out, or --explain to look only"
        raise _refused("there is nowhere to write to", expected="--out or --explain", got="neither", fix=fix)
    if is_file and asked.freeze_gates:
        expected, fix = "a checkpoint, or the folder that simplify wrote", "leave it away, or name the checkpoint"
        raise _refused("--freeze-gates needs tasks and their metrics", expected=expected, got=str(model), fix=fix)
    if inputs is not None and not is_file:
        fix = "a checkpoint is proven on --images"
        raise _refused("--inputs is for an .onnx file", expected="an .onnx file", got=str(model), fix=fix)
    if asked.freeze_gates and not asked.calibration:
        expected, fix = "--calibration 1 or more", "give --calibration 8, or leave --freeze-gates away"
        raise _refused("--freeze-gates measures on images", expected=expected, got="--calibration 0", fix=fix)


def _fold_folder(model: Path, out: Path | None, asked: Asked, *, explain: bool, as_json: bool) -> None:
    """Fold a simplified graph, or a checkpoint, which is exported and simplified first."""
    if out is not None:
        claim(out, Folded, model, asked.images)
    with TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        is_graph = (model / SIDECAR).is_file()
        simplified = load(Simplified, model) if is_graph else _simplified(model, scratch, asked)
        preprocess = graph_info(simplified).preprocess
        images = fitted_images(asked.images, asked.split, preprocess)
        with timed("fold"):
            folded = fold(
                simplified,
                out or scratch / "folded",
                images.first(asked.proven),
                asked.mode,
                rates_of(asked.target),
                say,
                threads=asked.threads,
                tasks=_names(asked.tasks),
                freezing=_freezing(model, images, preprocess, asked),
            )
        if explain:
            _explain(simplified, folded, images.first(asked.calibration), as_json=as_json)
        else:
            announce(folded, as_json=as_json)


def _refused(message: str, *, expected: str, got: str, fix: str) -> InputError:
    return InputError(message, expected=expected, got=got, where="the command line", fix=fix)


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _fold_file(
    path: Path, out: Path | None, inputs: Path | None, asked: Asked, *, explain: bool, as_json: bool
) -> None:
    from compile.folding.graph_file import fold_file, show

    record = fold_file(path, out, inputs, asked.proven, asked.target, say, outputs=_names(asked.tasks))
    show(record, out, explain=explain, as_json=as_json)


def _explain(simplified: Simplified, folded: Folded, images: ImageFiles, *, as_json: bool) -> None:
    from compile.folding.explain import draw, explain_rows
    from compile.folding.graph_file import read_graph
    from compile.folding.static_values import analyse
    from compile.folding.tables import costs_by_scope

    before, after = (read_graph(one.file(GRAPH_FILE)) for one in (simplified, folded))
    feeds = [graph_info(simplified).feed(image, name=name) for name, image in images.read()]
    findings = analyse(before, feeds, say, threads=0)
    lines = TypeAdapter(tuple[FoldRecord, ...]).validate_json(folded.file(FOLD).read_bytes())
    rows, settings = explain_rows(costs_by_scope(before), costs_by_scope(after), findings, lines), folding_of(folded)
    if as_json:
        print_answer(
            dumps({"settings": settings.model_dump(mode="json"), "modules": [row.model_dump() for row in rows]})
        )
    else:
        console = EscapingConsole(width=None if sys.stdout.isatty() else 200)
        console.print(draw(rows, settings.parts))


if __name__ == "__main__":
    run_script(main)
