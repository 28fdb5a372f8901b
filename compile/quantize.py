"""Quantize: the graph of each of a target's variants, in the target's own format; the INT8 ones by NNCF.

A target's own format is quantized as it is, ONNX otherwise; the target's passes then make its Q/DQ nodes legal. Calibration images go through the same ``bundle/tasks/preprocess.py`` as evaluation images.
"""

if not __package__:
    import _path  # noqa: F401

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import onnx_ir as ir
import typer

from bundle.base.limits import LIMITS
from bundle.base.terminal import say
from bundle.formats.artifacts import Quantized, Simplified, load
from bundle.formats.outputs import require_container
from calibration.image_files import ImageFiles, declared_policy, folder_images
from calibration.sampling import CalibrationSet, from_folder, hold_out
from compile.graphs.fp16 import write_fp16
from compile.graphs.load_onnx import import_graph
from compile.graphs.output_floors import comparison_floors
from compile.graphs.pin_input import InputFlags, read_shape, read_values
from compile.quantization.fidelity import lines, measure_fidelity, useless
from compile.quantization.formats import format_of
from compile.quantization.nncf_calibration import feeds_of, weights_only
from compile.quantization.variants import CACHE, QuantizationJob, ranges_for, scheme_of, write_quantized
from compile.stage.artifacts import QuantizedSettings, Range, SimplifiedSettings, VariantNote
from compile.stage.command import announce, claim, run_script, timed
from compile.stage.compare import OutputError, Outputs, compare, require, run_graph
from compile.stage.graph_info import GRAPH_FILE, graph_info, read_settings
from compile.stage.options import CalibrationImages, Device, Out, RecordAsJson, Split, TargetName, Threads
from compile.stage.store import Root, seal, stage_tools, writing
from targets.base import RunConfig, Target, Variant, VariantRecipe
from targets.table import target as find_target

CHECK_IMAGES = 4
HELD_IMAGES = 16
NOTHING_HELD = ImageFiles(paths=())
NORMALISATION = "one value or R,G,B, of an ONNX file; an artifact knows its own. Default: ImageNet's; of a grey input"

SHAPE = typer.Option(help="The shape of that input: 1,C,HEIGHT,WIDTH or 1,HEIGHT,WIDTH,C; C is 3 (RGB) or 1 (grey).")
SEED = typer.Option(min=0, max=LIMITS["seed"].most, help="Of the draw, where the folder holds more images than count.")


def quantize(
    simplified: Simplified,
    calibration: CalibrationSet,
    out: Path,
    target: Target,
    run: RunConfig,
    *,
    cache: Root,
    held: ImageFiles = NOTHING_HELD,
) -> Quantized:
    """Write a ``Quantized`` artifact in ``out``: the graph of each of the target's variants, each checked on real images.

    What quantization costs is measured on the images ``held`` out of calibration, if there are any.

    Raises:
        DatasetError: there is no calibration image, or one has another size or type than the model takes.
        GraphError: NNCF or a pass refuses the graph, or a float graph computes something else.
        TargetUnavailable: NNCF or the target's runtime is not installed.
    """
    info = graph_info(simplified)
    with writing(out, Quantized) as folder:
        job = QuantizationJob(simplified.file(GRAPH_FILE), info, calibration, folder, target, run, cache)
        variants, notes = list[Variant](), dict[str, VariantNote]()
        recipes = target.variants(target.capabilities(run))
        ranges = ranges_for(job, recipes)
        for recipe in recipes:
            variant, notes[recipe.name] = _write(recipe, job, ranges)
            variants.append(variant)
        settings = QuantizedSettings(
            graph=info,
            target=target.name,
            variants=tuple(variants),
            notes=notes,
            checks=_check(job, variants),
            fidelity=measure_fidelity(job, variants, held) if held.paths else (),
        )
        seal(Quantized, folder, parent=simplified.sha256, settings=settings, tools=stage_tools("quantize"))
    return load(Quantized, out)


def _write(recipe: VariantRecipe, job: QuantizationJob, ranges: tuple[Range, ...]) -> tuple[Variant, VariantNote]:
    """Write one variant's graph; return it with what there is to say about it."""
    if recipe.graph == "fp16":
        files, typed = write_fp16(job.source, job.folder, recipe.name, ranges)
        return Variant(recipe=recipe, files=files), VariantNote(fp16=typed)
    suffix = job.target.graph_suffix
    path = job.folder / f"float{suffix}"
    if recipe.graph == "float":
        return Variant(recipe=recipe, files=job.target.convert(job.source, path)), VariantNote()
    if recipe.graph == "weights":
        job.target.convert(job.source, path)
        out = job.folder / f"{recipe.name}{suffix}"
        return Variant(recipe=recipe, files=weights_only(path, out, format_of(job.target))), VariantNote()
    return write_quantized(recipe, job, ranges, scheme_of(job))


def _check(job: QuantizationJob, variants: list[Variant]) -> dict[str, tuple[OutputError, ...]]:
    """Compare each variant's graph with the float one it came from, on a few calibration images.

    A float graph must compute the same; how far a narrower one is off is recorded, and judged by the regression.
    """
    feeds = feeds_of(job.info, job.calibration.first(CHECK_IMAGES))
    reference = run_graph(job.source, job.info, feeds, exact=False, threads=job.run.threads)
    found: dict[str, tuple[OutputError, ...]] = {}
    for variant in variants:
        with job.target.open(job.folder, variant, job.run, "auto", keep=job.folder) as session:
            outputs: list[Outputs] = [session.infer(feed) for feed in feeds]
        errors = compare(outputs, reference)
        if variant.recipe.name == "f32":
            require("convert", errors, lambda: comparison_floors(ir.load(job.source), feeds, threads=job.run.threads))
        found[variant.recipe.name] = errors
    return found


def main(
    target: TargetName,
    model: Annotated[Path, typer.Option(help="A folder that export or simplify wrote, or an ONNX file.")],
    images: CalibrationImages,
    out: Out,
    split: Split = "calibration",
    count: Annotated[int, typer.Option(min=1, max=LIMITS["count"].most, help="How many images to calibrate on.")] = 64,
    mean: Annotated[str, typer.Option(help=f"Mean: {NORMALISATION} 0.")] = "",
    std: Annotated[str, typer.Option(help=f"Deviation: {NORMALISATION} 1.")] = "",
    input_name: Annotated[str, typer.Option("--input", help="The input of an ONNX file that is the image.")] = "",
    shape: Annotated[str, SHAPE] = "",
    seed: Annotated[int, SEED] = 0,
    cache: Annotated[Path | None, typer.Option(help="Where calibrations are kept. Default: beside out.")] = None,
    device: Device = "",
    threads: Threads = 0,
    as_json: RecordAsJson = False,
) -> None:
    """Quantize a simplified graph for a target, or an ONNX file of any exporter; of one, say what it costs.

    Example: python compile/quantize.py --target intel --model build/rewritten --out build/int8
    """
    kept = out.parent / CACHE if cache is None else cache
    claim(out, Quantized, model, images, kept)
    require_container(kept)
    run, chosen = RunConfig(device=device, threads=threads), find_target(target)
    few, policy = folder_images(images, split).first(CHECK_IMAGES), declared_policy(images)
    flags, held = InputFlags(input_name, read_shape(shape)), NOTHING_HELD
    if not model.is_dir():
        flags = flags._replace(size=next(few.read())[1].shape[:2])
    with TemporaryDirectory() as scratch:
        graph = import_graph(
            model,
            Path(scratch) / "adopted",
            mean=read_values(mean, "--mean"),
            std=read_values(std, "--std"),
            flags=flags,
            opsets=chosen.profile.opsets,
            images=few,
            policy=policy,
        )
        if graph.folder != model:
            _show_import(graph)
        drawn = from_folder(images, split, count, seed=seed, preprocess=graph_info(graph).preprocess, policy=policy)
        for finding in drawn.findings:
            say(f"calibration: {finding}")
        if not model.is_dir():
            drawn, held = hold_out(drawn, images, split, HELD_IMAGES, seed=seed)
        with timed("quantize"):
            quantized = quantize(graph, drawn, out, chosen, run, cache=kept, held=held)
        announce(quantized, as_json=as_json)
    _show(quantized, held)


def _show_import(graph: Simplified) -> None:
    """Say what was done to a file, and how an image becomes grey where its input is."""
    say(f"graph: {read_settings(SimplifiedSettings, graph).preparation}")
    info = graph_info(graph)
    if info.colours == "grey":
        raw = f", mean {info.preprocess.mean[0]:g}, std {info.preprocess.std[0]:g}" if info.io == "raw" else ""
        say(f"images: made grey (Pillow's mode L, ITU-R 601){raw}")


def _show(quantized: Quantized, held: ImageFiles) -> None:
    """Say what quantization cost, and end with 1 where a variant is of no use."""
    measured = read_settings(QuantizedSettings, quantized).fidelity
    if measured:
        say(f"against the float graph, on {len(held.paths)} images held out of calibration:")
    for line in lines(measured):
        say(line)
    if reasons := tuple(useless(measured)):
        for reason in reasons:
            say(f"of no use: {reason}")
        raise SystemExit(1)


if __name__ == "__main__":
    run_script(main)
