"""The tables of docs/studies/quantization.md, each a generator of rows: what is quantized how, and how every task stands after it.

``schemes``: each choice of the jetson scheme on and off. ``naive``: ``nncf.quantize`` as it comes, beside ours.
``calibration``: how many images, drawn at random or chosen to cover the features. ``outliers``: outlier channels in two
blocks, plain and after the search; ``control``: NNCF's accuracy control on the same graph, ``schemes-outliers``: the scheme's
choices on it. ``vit``: a transformer whose outliers are its own (studies/dinov2/port.py), plain, after the search, and naive;
``schemes-vit``: the scheme's choices on it. All in emulation, exact per operator.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from pydantic import Field

from bundle.base.frozen import Frozen
from bundle.base.terminal import say
from bundle.formats.artifacts import Quantized, Simplified
from bundle.judging.sensitivity import SearchConfig, read_sensitivity
from bundle.judging.sentences import search_ended
from bundle.judging.verdict import Verdict
from bundle.tasks.dataset import FolderDataset, read_image
from calibration.sampling import CalibrationSet
from compile.graphs.end_nodes import HEAD, TAIL
from compile.graphs.load_onnx import import_graph
from compile.graphs.passes.table import apply_passes
from compile.quantization.accuracy import AccuracyEvaluator, Measured, read_labelled, worst
from compile.quantization.contenders import PLAIN
from compile.quantization.dequantize import layers_of, read_macs
from compile.quantization.formats import ONNX
from compile.quantization.ignored_nodes import FEW, GATE, THIN, ignored_nodes
from compile.quantization.mixed_precision import search
from compile.quantization.nncf_calibration import CalibrationRequest, calibrate, run_nncf
from compile.quantize import quantize
from compile.stage.artifacts import variants_of
from compile.stage.compare import open_graph
from compile.stage.config import SearchSettings
from compile.stage.graph_info import GRAPH_FILE, GraphInfo
from compile.stage.parts import Spread
from compile.tensorrt_checks.run import lint_file
from studies.quantization.accuracy_control import control
from studies.quantization.feature_coverage import choose_covering
from studies.quantization.nncf_defaults import KINDS, quantize_naively
from studies.quantization.outlier_injection import inject_outliers, norms_before_products
from studies.quantization.outlier_stats import describe_outliers, measure_outliers
from targets.base import QuantizationScheme, RunConfig
from targets.jetson.target import JETSON
from targets.scheme import GATE as NAMED_GATE
from targets.scheme import SMOOTH_ALPHA, smoothed

COUNTS = (1, 4, 16, 64)
MASSIVE_IMAGES = 16
CHANNELS, FACTOR, BLOCKS = 4, 1000.0, (0.25, 0.75)  # times the rest: what published massive activations reach
RUN = RunConfig(device="emulation")
# The rows that quantize what stays in float for some reasons, each by what it begins with.
ABLATIONS = {
    "gate path quantized": (GATE, NAMED_GATE.reason),
    "first convolution quantized": (FEW,),
    "thin products quantized": (THIN,),
    "ends quantized": (HEAD, TAIL),
}


class Drops(Frozen):
    """One line of a table: each task's relative drop, its interval's upper end, its verdict; bytes, lint errors of the graph."""

    name: str
    drops: dict[str, float]
    upper: dict[str, float]
    verdicts: dict[str, Verdict] = Field(default_factory=dict)
    bytes: int
    errors: int
    note: str = ""


class Study(NamedTuple):
    """What every table needs: the float graph, its contract, calibration images, the evaluator, and where to write.

    ``scratch`` is the table's own and is gone after it; ``cache`` keeps calibrations and each layer's sensitivity.
    """

    source: Path
    info: GraphInfo
    calibration: CalibrationSet
    evaluator: AccuracyEvaluator
    dataset: FolderDataset
    scratch: Path
    cache: Path
    threads: int


def measure(study: Study, name: str, graph: Path, note: str = "", emulated: Path | None = None) -> Drops:
    """Run a graph, or the one that emulates it, as its operators are defined on the evaluator's images, and lint the graph."""
    with open_graph(emulated or graph, exact=True, threads=study.threads) as session:
        return _row(study, name, graph, study.evaluator.measure(session.infer), note)


def _row(study: Study, name: str, graph: Path, measured: Measured, note: str) -> Drops:
    standing = study.evaluator.judge(measured)
    say(f"{name}: worst {worst(standing)[0]} {worst(standing)[1]:.2%}")
    return Drops(
        name=name,
        drops={task: one.drop for task, one in standing.items()},
        bytes=graph.stat().st_size,
        upper={task: one.interval[1] for task, one in standing.items()},
        errors=len(lint_file(graph).errors),
        note=note,
        verdicts={task: one.verdict for task, one in standing.items()},
    )


def schemes(study: Study) -> Iterator[Drops]:
    """Measure the jetson scheme, then each of its choices undone, alone, where the graph has what it is about."""
    scheme = JETSON.scheme(JETSON.capabilities(RUN))
    yield measure(study, "ours", _ours(study, study.calibration, scheme))
    yield measure(study, f"SmoothQuant on ({SMOOTH_ALPHA})", _ours(study, study.calibration, smoothed(scheme)))
    undone: tuple[tuple[str, dict[str, object]], ...] = (
        ("model type none", {"model_type": "none"}),
        ("preset mixed", {"preset": "mixed"}),
        ("exact bias correction", {"fast_bias_correction": False}),
    )
    for name, change in undone:
        yield measure(study, name, _ours(study, study.calibration, scheme.model_copy(update=change)))
    kept = ignored_nodes(study.source, scheme)
    for name, reasons in ABLATIONS.items():
        left = kept_without(kept, reasons)
        if len(left) < len(kept):
            yield measure(study, name, _keeping(study, scheme, left))
        else:
            say(f"{name}: no row, this graph has no such node")


# What NVIDIA's parser does with each (docs/reference/lint.md, `python -m studies.quantization.nncf_defaults`).
TENSORRT = {"defaults": "reads uint8 as int8", "transformer": "refuses its zero-points"}


def naive(study: Study) -> Iterator[Drops]:
    """Measure what ``nncf.quantize`` makes of the graph without a word about TensorRT, beside ours."""
    yield from _naive(study)
    yield measure(study, "ours", _ours(study, study.calibration, JETSON.scheme(JETSON.capabilities(RUN))))


def calibration(study: Study) -> Iterator[Drops]:
    """Measure ours calibrated on more and more images, random ones and those that cover the features."""
    scheme = JETSON.scheme(JETSON.capabilities(RUN))
    features = _features(study)
    for count in (one for one in COUNTS if one <= len(study.calibration.ids)):
        ways = {"random": np.sort(np.random.default_rng(0).permutation(len(features))[:count])}
        if count < len(features):
            ways["covering"] = np.array(choose_covering(features, count, seed=0))
        for way, picks in ways.items():
            yield measure(study, f"{count} {way}", _ours(study, _subset(study.calibration, picks), scheme))


def outliers(study: Study) -> Iterator[Drops]:
    """Put outlier channels into two blocks, quantize plainly, then search."""
    hard, note = _hard(study)
    yield measure(study, "float with outliers", hard.file(GRAPH_FILE), note=note)
    yield from _searched(study, hard)


def schemes_outliers(study: Study) -> Iterator[Drops]:
    """Measure the scheme and each of its choices undone on the graph with outlier channels."""
    yield from schemes(study._replace(source=_hard(study)[0].file(GRAPH_FILE)))


def vit(study: Study) -> Iterator[Drops]:
    """Measure a graph with outliers of its own: plain INT8, what the search finds, and what NNCF makes of it by itself."""
    feeds = [study.info.feed(read_image(path)) for path in study.calibration.paths[:MASSIVE_IMAGES]]
    massive = describe_outliers(measure_outliers(study.source, feeds, threads=study.threads))
    reference = study.evaluator.reference
    metrics = ", ".join(f"{name} {study.evaluator.metric(name, reference[name]):.3f}" for name in reference)
    yield _row(study, "float", study.source, reference, f"{metrics}; {massive}")
    shown = study.info.preprocess
    yield from _searched(study, import_graph(study.source, study.scratch / "graph", mean=shown.mean, std=shown.std))
    yield from _naive(study)


def controlled(study: Study) -> Iterator[Drops]:
    """Give the same hard case to NNCF's accuracy control, which validates on labelled calibration images too."""
    hard, _ = _hard(study)
    scheme = JETSON.scheme(JETSON.capabilities(RUN))
    request = CalibrationRequest(hard.file(GRAPH_FILE), study.info, study.calibration, scheme, ONNX)
    plain = calibrate(request, study.cache)
    samples = read_labelled(study.dataset, study.calibration.ids, study.info)
    evaluator = AccuracyEvaluator(samples, study.info, study.evaluator.budgets, 0)
    with open_graph(request.source, exact=False, threads=study.threads) as session:
        evaluator.set_reference(session.infer)
    start = perf_counter()
    path = control(
        request, evaluator, study.scratch / "control.onnx", threads=study.threads, ranking_images=SearchConfig().images
    )
    minutes = (perf_counter() - start) / 60
    macs = read_macs(request.source)
    before, after = ({layer.name for layer in layers_of(ir.load(one), macs)} for one in (plain, path))
    share = sum(macs[name] for name in before - after) / sum(macs.values())
    note = f"{len(before - after)} of {len(before)} layers with {share:.1%} of the MACs in float; {minutes:.0f} min"
    yield measure(study, "plain", plain, note="before the target's passes, as the next row is")
    yield measure(study, "NNCF's accuracy control", path, note=note)


def _naive(study: Study) -> Iterator[Drops]:
    feeds = [study.info.feed(read_image(path)) for path in study.calibration.paths]
    for kind, path in zip(KINDS, quantize_naively(study.source, feeds, study.scratch / "naive"), strict=True):
        yield measure(study, f"naive, {kind}", path, note=f"as the operators are defined; TensorRT {TENSORRT[kind]}")


def _hard(study: Study) -> tuple[Simplified, str]:
    """Return the graph with outlier channels, and what was done to it."""
    model = ir.load(study.source)
    norms = norms_before_products(model)
    chosen = [norms[int(part * len(norms))] for part in BLOCKS]
    rewritten = inject_outliers(model, chosen, channels=CHANNELS, factor=FACTOR, seed=0)
    path = study.scratch / "outliers.onnx"
    ir.save(model, path)
    note = f"{CHANNELS} channels × {FACTOR:g} behind {', '.join(chosen)}; {rewritten} products"
    shown = study.info.preprocess
    return import_graph(path, study.scratch / "hard", mean=shown.mean, std=shown.std), note


def _searched(study: Study, graph: Simplified) -> Iterator[Drops]:
    """Quantize a graph plainly, search, and measure both."""
    run, cache = RunConfig(device="emulation", threads=study.threads), study.cache
    plain = quantize(graph, study.calibration, study.scratch / "plain", JETSON, run, cache=cache)
    yield measure(study, PLAIN, *_files(plain, PLAIN, "plain"))
    settings = SearchSettings(study.dataset, study.evaluator.budgets, 0, SearchConfig())
    start = perf_counter()
    found = search(
        plain,
        graph,
        study.calibration,
        study.scratch / "found",
        JETSON,
        run,
        settings,
        spread=Spread(cache),
        progress=say,
    )
    minutes = (perf_counter() - start) / 60
    report = read_sensitivity(found.folder)
    assert report is not None  # the search writes one
    note = f"{search_ended(report)}; {report.never_quantized_share:.1%} never quantized; {minutes:.0f} min"
    added = [variant.recipe.name for variant in variants_of(found)[len(variants_of(plain)) :]]
    if not added:
        say(f"nothing beside plain INT8: {note}")
    for name in added:
        said = note if name == added[-1] else f"SmoothQuant {SMOOTH_ALPHA}, no layer returned to float"
        yield measure(study, name, *_files(found, name, said))


def _files(quantized: Quantized, name: str, note: str) -> tuple[Path, str, Path]:
    """Return a variant's graph, the note, and the graph that computes on a CPU what the device does: the last of its files."""
    [variant] = [one for one in variants_of(quantized) if one.recipe.name == name]
    return quantized.file(variant.files[0]), note, quantized.file(variant.files[-1])


def _ours(study: Study, drawn: CalibrationSet, scheme: QuantizationScheme) -> Path:
    request = CalibrationRequest(study.source, study.info, drawn, scheme, ONNX)
    return _legal(study, calibrate(request, study.cache))


def _keeping(study: Study, scheme: QuantizationScheme, kept: list[str]) -> Path:
    """Quantize with no nodes in float but these."""
    import onnx

    request = CalibrationRequest(study.source, study.info, study.calibration, scheme, ONNX)
    path = study.scratch / "given_up.onnx"
    onnx.save(run_nncf(onnx.load(study.source), request, kept), path)
    return _legal(study, path)


def kept_without(kept: Mapping[str, str], given_up: tuple[str, ...]) -> list[str]:
    """Return the float nodes whose reason begins with none of ``given_up``."""
    return [name for name, reason in kept.items() if not reason.startswith(given_up)]


def _legal(study: Study, path: Path) -> Path:
    legal = study.scratch / "legal.onnx"
    apply_passes(JETSON.passes, path, legal)
    return legal


def _features(study: Study) -> np.ndarray:
    """Return each calibration image's features: means and deviations of the float graph's outputs, by channel."""
    rows = []
    with open_graph(study.source, exact=False, threads=study.threads) as session:
        for path in study.calibration.paths:
            outputs = session.infer(study.info.feed(read_image(path))).values()
            flat = [np.asarray(output, np.float64).reshape(output.shape[1], -1) for output in outputs]
            rows.append(np.concatenate([np.concatenate([one.mean(axis=1), one.std(axis=1)]) for one in flat]))
    return np.stack(rows)


def _subset(drawn: CalibrationSet, picks: Sequence[int] | np.ndarray) -> CalibrationSet:
    ids = tuple(drawn.ids[pick] for pick in picks)
    paths = tuple(drawn.paths[one] for one in picks)
    return drawn.model_copy(update={"ids": ids, "paths": paths})


TABLES: Mapping[str, Callable[[Study], Iterator[Drops]]] = {
    "schemes": schemes,
    "naive": naive,
    "calibration": calibration,
    "outliers": outliers,
    "control": controlled,
    "schemes-outliers": schemes_outliers,
    "vit": vit,
    "schemes-vit": schemes,
}
