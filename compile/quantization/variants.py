"""The graphs of a target's variants: which ones, by which scheme, and a quantized one written."""

from pathlib import Path
from typing import NamedTuple

from calibration.sampling import CalibrationSet
from compile.graphs.fp16 import write_fp16, write_ranges
from compile.graphs.passes.table import apply_passes
from compile.quantization.formats import format_of
from compile.quantization.ignored_nodes import ignored_nodes, value_names
from compile.quantization.nncf_calibration import CalibrationRequest, calibrate, feeds_of
from compile.stage.artifacts import Range, VariantNote
from compile.stage.graph_info import GraphInfo
from compile.stage.store import Root
from targets.base import QuantizationScheme, RunConfig, Target, Variant, VariantRecipe

CACHE = ".calibrated"


class QuantizationJob(NamedTuple):
    """What every variant of one quantization shares."""

    source: Path  # the simplified ONNX graph
    info: GraphInfo
    calibration: CalibrationSet
    folder: Path
    target: Target
    run: RunConfig
    cache: Root  # where calibrations are kept


def scheme_of(job: QuantizationJob) -> QuantizationScheme:
    """Return the scheme of the job's target, for what the device is."""
    return job.target.scheme(job.target.capabilities(job.run))


def write_quantized(
    recipe: VariantRecipe,
    job: QuantizationJob,
    ranges: tuple[Range, ...],
    scheme: QuantizationScheme,
    dequantized: frozenset[str] = frozenset(),
) -> tuple[Variant, VariantNote]:
    """Write a Q/DQ graph whose weighted operators in ``dequantized``, ONNX node names, are in float again.

    Raises:
        GraphError: NNCF or a pass refuses the graph.
        TargetUnavailable: NNCF is not installed.
    """
    form = format_of(job.target)
    request = CalibrationRequest(job.source, job.info, job.calibration, scheme, form, job.run.threads)
    calibrated = calibrate(request, job.cache)
    path = job.folder / f"{recipe.name}{form.suffix}"
    files = form.return_to_float(calibrated, job.source, value_names(job.source, dequantized), path)
    names = (*job.target.passes, *job.target.fusing_passes)
    passes = apply_passes(names, path, path) if names else {}
    note = VariantNote(
        scheme=scheme,
        ignored_nodes=ignored_nodes(job.source, scheme),
        dequantized=tuple(sorted(dequantized)),
        passes=passes,
    )
    if not (job.target.profile.fp16_in_graph and recipe.hint == "f16"):
        return Variant(recipe=recipe, files=files), note
    files, fp16 = write_fp16(path, job.folder, recipe.name, ranges)
    return Variant(recipe=recipe, files=files), note.model_copy(update={"fp16": fp16})


def ranges_for(job: QuantizationJob, recipes: tuple[VariantRecipe, ...]) -> tuple[Range, ...]:
    """Measure how large each tensor gets on the calibration images, where FP16 is written into a graph."""
    if not job.target.profile.fp16_in_graph or all(recipe.hint != "f16" for recipe in recipes):
        return ()
    return write_ranges(job.source, job.folder, feeds_of(job.info, job.calibration), threads=job.run.threads)
