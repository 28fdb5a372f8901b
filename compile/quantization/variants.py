"""The graphs of a target's variants: which ones, by which scheme, and a quantized one written."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from calibration.sampling import CalibrationSet
from compile.graphs.fp16 import write_fp16, write_ranges
from compile.graphs.passes.table import apply_passes
from compile.quantization.dequantize import write_dequantized, write_dequantized_ir
from compile.quantization.ignored_nodes import ignored_nodes
from compile.quantization.nncf_calibration import SUFFIX, CalibrationRequest, calibrate, feeds_of
from compile.stage.artifacts import Range, VariantNote
from compile.stage.graph_info import GraphInfo
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
    cache: Path  # where calibrations are kept


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
    request = CalibrationRequest(job.source, job.info, job.calibration, scheme, job.target.graph_format)
    calibrated = calibrate(request, job.cache)
    path = job.folder / f"{recipe.name}{SUFFIX[job.target.graph_format]}"
    ignored = ignored_nodes(job.source, scheme)
    note = VariantNote(scheme=scheme, ignored_nodes=dict(ignored), dequantized=tuple(sorted(dequantized)))
    if job.target.graph_format == "openvino":
        return Variant(recipe=recipe, files=write_dequantized_ir(calibrated, job.source, path, dequantized)), note
    with TemporaryDirectory(prefix=".dequantized.", dir=job.folder) as scratch:
        mixed = write_dequantized(calibrated, job.source, Path(scratch) / path.name, dequantized)
        passes = apply_passes(job.target.passes, mixed, path)
    if recipe.hint != "f16":
        return Variant(recipe=recipe, files=(path.name,)), note.model_copy(update={"passes": passes})
    files, fp16 = write_fp16(path, job.folder, recipe.name, ranges)
    return Variant(recipe=recipe, files=files), note.model_copy(update={"passes": passes, "fp16": fp16})


def ranges_for(job: QuantizationJob, recipes: tuple[VariantRecipe, ...]) -> tuple[Range, ...]:
    """Measure how large each tensor gets on the calibration images, where FP16 is written into a graph."""
    if job.target.graph_format != "onnx" or all(recipe.hint != "f16" for recipe in recipes):
        return ()
    return write_ranges(job.source, job.folder, feeds_of(job.info, job.calibration.paths), threads=job.run.threads)
