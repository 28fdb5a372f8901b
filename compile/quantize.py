"""Quantize: the graph of each of a target's variants, in the target's own format; the INT8 one by NNCF.

The only module that imports NNCF. Intel is quantized on the OpenVINO graph, Jetson on ONNX, whose Q/DQ nodes the target's
passes then make legal. Calibration images go through the same ``bundle/preprocess.py`` as evaluation images.
"""

if not __package__:
    import _path  # noqa: F401

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import typer
from pydantic import JsonValue, TypeAdapter

from bundle.artifacts import Engine, Quantized, Simplified, load
from bundle.dataset import read_image
from bundle.errors import DatasetError, GraphError, TargetUnavailable
from bundle.preprocess import Preprocess, Triple
from calibration.sampling import CalibrationSet, from_folder
from compile.adopt import adopt_graph
from compile.float_nodes import float_nodes, value_names
from compile.graph import GRAPH_FILE, Array, GraphInfo, graph_info, graph_settings
from compile.half import write_half, write_ranges
from compile.passes.table import apply_passes
from compile.ranges import Range
from compile.script import announce, run_script, say
from compile.store import seal, tool_versions, writing
from compile.verify import Outputs, compare, require, run_graph
from targets.base import QuantizationScheme, RunConfig, Target, Variant, VariantRecipe
from targets.table import target as find_target

if TYPE_CHECKING:
    from nncf import AdvancedQuantizationParameters

TOOLS = ("nncf", "onnx", "onnx-ir", "openvino", "onnxruntime")
SUFFIX = {"onnx": ".onnx", "openvino": ".xml"}
CHECK_IMAGES = 4
Graph = TypeVar("Graph")
MEAN, STD = (Preprocess.model_fields[name].get_default() for name in ("mean", "std"))


class Job(NamedTuple):
    """What every variant of one quantization shares."""

    source: Path  # the simplified ONNX graph
    info: GraphInfo
    calibration: CalibrationSet
    folder: Path
    target: Target
    run: RunConfig


def quantize(
    simplified: Simplified, calibration: CalibrationSet, out: Path, target: Target, run: RunConfig
) -> Quantized:
    """Write a ``Quantized`` artifact in ``out``: the graph of each of the target's variants, each checked on real images.

    Raises:
        DatasetError: there is no calibration image, or one has another size or type than the model takes.
        GraphError: NNCF or a pass refuses the graph, or a float graph computes something else.
        TargetUnavailable: NNCF or the target's runtime is not installed.
    """
    info = graph_info(simplified)
    with writing(out) as folder:
        job = Job(simplified.file(GRAPH_FILE), info, calibration, folder, target, run)
        variants, notes = [], dict[str, JsonValue]()
        recipes = target.variants(target.capabilities(run))
        ranges = _ranges(job, recipes)
        for recipe in recipes:
            variant, note = _write(recipe, job, ranges)
            variants.append(variant)
            notes[recipe.name] = note
        settings = graph_settings(info, {"target": target.name, "variants": _dump(variants), "notes": notes})
        inputs, outputs = info.interface
        seal(
            Quantized, folder, parent=simplified.sha256, inputs=inputs, outputs=outputs,
            settings=settings | {"checks": _check(job, variants)}, tools=tool_versions(*TOOLS),
        )  # fmt: skip
    return load(Quantized, out)


def variants_of(quantized: Quantized | Engine) -> tuple[Variant, ...]:
    """Return the variants an artifact holds."""
    return TypeAdapter(tuple[Variant, ...]).validate_json(json.dumps(quantized.record.settings["variants"]))


def _dump(variants: list[Variant]) -> JsonValue:
    return [variant.model_dump(mode="json") for variant in variants]


def _write(recipe: VariantRecipe, job: Job, ranges: tuple[Range, ...]) -> tuple[Variant, JsonValue]:
    """Write one variant's graph; return it with what there is to say about it."""
    if recipe.graph == "half":
        files, typed = write_half(job.source, job.folder, recipe.name, ranges)
        return Variant(recipe=recipe, files=files), {"half": typed}
    suffix = SUFFIX[job.target.graph_format]
    if recipe.graph == "float":
        return Variant(recipe=recipe, files=job.target.convert(job.source, job.folder / f"float{suffix}")), {}
    scheme = job.target.scheme(job.target.capabilities(job.run))
    kept = float_nodes(job.source, scheme)
    path = job.folder / f"{recipe.name}{suffix}"
    quantize_graph = _quantize_openvino if job.target.graph_format == "openvino" else _quantize_onnx
    files, passes = quantize_graph(job, scheme, kept, path)
    note: dict[str, JsonValue] = {"scheme": scheme.model_dump(mode="json")}
    note |= {"float_nodes": dict(kept), "passes": dict(passes)}
    if job.target.graph_format == "onnx" and recipe.hint == "f16":
        files, note["half"] = write_half(path, job.folder, recipe.name, ranges)
    return Variant(recipe=recipe, files=files), note


def _ranges(job: Job, recipes: tuple[VariantRecipe, ...]) -> tuple[Range, ...]:
    """Measure how large each tensor gets on the calibration images, where FP16 is written into a graph."""
    if job.target.graph_format != "onnx" or all(recipe.hint != "f16" for recipe in recipes):
        return ()
    return write_ranges(job.source, job.folder, _feeds(job, len(job.calibration.paths)), threads=job.run.threads)


def _quantize_onnx(
    job: Job, scheme: QuantizationScheme, kept: dict[str, str], path: Path
) -> tuple[tuple[str, ...], dict[str, bool]]:
    import onnx

    model = _run_nncf(onnx.load(job.source), job, scheme, list(kept))
    with TemporaryDirectory(prefix=".nncf.", dir=job.folder) as scratch:
        quantized = Path(scratch) / path.name
        onnx.save(model, quantized)
        changed = apply_passes(job.target.passes, quantized, path)
    return (path.name,), changed


def _quantize_openvino(
    job: Job, scheme: QuantizationScheme, kept: dict[str, str], path: Path
) -> tuple[tuple[str, ...], dict[str, bool]]:
    from targets.intel.graph import convert, save

    model = convert(job.source)
    values = set(value_names(job.source, kept))
    names = [operation.get_friendly_name() for operation in model.get_ordered_ops()]
    ours = [name for name in names if name in values or name.rpartition("/")[0] in values]
    return save(_run_nncf(model, job, scheme, ours), path), {}


def _run_nncf(model: Graph, job: Job, scheme: QuantizationScheme, kept: list[str]) -> Graph:
    nncf = _import_nncf()
    feeds = _feeds(job, len(job.calibration.paths))
    if not feeds:
        raise DatasetError(
            "there is no calibration image", expected="at least 1", got="0", where="quantize",
            fix="give a folder with images, or a larger count",
        )  # fmt: skip
    kind = nncf.ModelType.TRANSFORMER if scheme.model_type == "transformer" else None
    try:
        with _quiet():
            quantized: Graph = nncf.quantize(
                model, nncf.Dataset(feeds), preset=nncf.QuantizationPreset(scheme.preset), model_type=kind,
                target_device=nncf.TargetDevice.ANY, subset_size=min(scheme.subset_size, len(feeds)),
                fast_bias_correction=scheme.fast_bias_correction,
                ignored_scope=nncf.IgnoredScope(names=kept, validate=False), advanced_parameters=_advanced(scheme),
            )  # fmt: skip
    except (nncf.ValidationError, nncf.InternalError, nncf.UnsupportedModelError) as error:
        raise GraphError(
            "NNCF refuses this graph", expected="a graph it can quantize", got=str(error), where=str(job.source),
            fix="see which node the text names; a pattern in the target's scheme keeps it in float",
        ) from error  # fmt: skip
    return quantized


def _feeds(job: Job, count: int) -> list[dict[str, Array]]:
    """Return the first ``count`` calibration images as the graph takes them."""
    return [job.info.feed(read_image(path), name=str(path)) for path in job.calibration.paths[:count]]


def _advanced(scheme: QuantizationScheme) -> "AdvancedQuantizationParameters":
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        AdvancedSmoothQuantParameters,
        OverflowFix,
        QuantizationParameters,
    )  # fmt: skip

    alpha = -1.0 if scheme.smooth_quant_alpha == "off" else scheme.smooth_quant_alpha
    activations = None if scheme.per_channel_depthwise_activations else QuantizationParameters(per_channel=False)
    return AdvancedQuantizationParameters(
        overflow_fix=OverflowFix(scheme.overflow_fix),
        smooth_quant_alphas=AdvancedSmoothQuantParameters(convolution=-1.0, matmul=alpha),
        activations_quantization_params=activations,
    )


def _import_nncf() -> ModuleType:
    try:
        import nncf
    except ModuleNotFoundError as error:
        raise TargetUnavailable(
            "nncf is not installed", expected="the Python package nncf", got="ModuleNotFoundError",
            where="this Python environment", fix="pip install -e .[intel] or .[jetson]",
        ) from error  # fmt: skip
    return nncf  # type: ignore[no-any-return,unused-ignore]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's progress bars off standard output and its notes below a warning out of the log."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _check(job: Job, variants: list[Variant]) -> dict[str, JsonValue]:
    """Compare each variant's graph with the float one it came from, on a few calibration images.

    A float graph must compute the same; how far a narrower one is off is recorded, and judged by the regression.
    """
    feeds = _feeds(job, CHECK_IMAGES)
    reference = run_graph(job.source, job.info, feeds, exact=False, threads=job.run.threads)
    found: dict[str, JsonValue] = {}
    for variant in variants:
        with job.target.open(job.folder, variant, job.run, "auto") as session:
            outputs: list[Outputs] = [session.infer(feed) for feed in feeds]
        errors = compare(outputs, reference)
        if variant.recipe.name == "f32":
            require("convert", errors)
        found[variant.recipe.name] = [error.model_dump(mode="json") for error in errors]
    return found


def main(
    target: Annotated[str, typer.Option(help="The device to quantize for: intel or jetson.")],
    model: Annotated[Path, typer.Option(help="A folder that export or simplify wrote, or an ONNX file.")],
    calibration: Annotated[Path, typer.Option(help="A labelled folder, or a folder of images of the model's size.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    split: Annotated[str, typer.Option(help="The split of a labelled folder.")] = "calibration",
    count: Annotated[int, typer.Option(min=1, help="How many images to calibrate on.")] = 64,
    mean: Annotated[Triple, typer.Option(help="Normalisation of an ONNX file; an artifact knows its own.")] = MEAN,
    std: Annotated[Triple, typer.Option(help="Normalisation of an ONNX file; an artifact knows its own.")] = STD,
    seed: Annotated[int, typer.Option(help="Of the draw, where the folder holds more images than count.")] = 0,
    device: Annotated[str, typer.Option(help="The runtime's device; empty: the target's choice.")] = "",
    threads: Annotated[int, typer.Option(min=0, help="Threads of the check; 0: the runtime's choice.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the artifact's record as JSON.")] = False,
) -> None:
    """Quantize a simplified graph for a target.

    Example: python compile/quantize.py --target intel --model build/simplified --calibration data/scenes --out build/int8
    """
    run, chosen = RunConfig(device=device, threads=threads), find_target(target)
    with TemporaryDirectory() as scratch:
        graph = adopt_graph(model, Path(scratch) / "adopted", mean=mean, std=std)
        drawn = from_folder(calibration, split, count, seed=seed, preprocess=graph_info(graph).preprocess)
        for finding in drawn.findings:
            say(f"calibration: {finding}")
        announce(quantize(graph, drawn, out, chosen, run), as_json=as_json)


if __name__ == "__main__":
    run_script(main)
