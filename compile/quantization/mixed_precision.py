"""Search: where plain INT8 is not within its budgets, try SmoothQuant, then return the layers to float that buy the most.

    int8 on the calibration images ── every task holds ──▶ they show nothing to fix
          │ else
    the same scheme with SmoothQuant, if its noise says that it is better ── every task holds ──▶ int8_smooth, all layers in INT8
          │ else (it is kept as well if it is better than int8)
    each layer's noise at each task's output (sensitivity.py)
          │  order by Σ over broken tasks of the layer's part of the noise, per multiply-accumulate
    of those that fit into ``limit`` of the MACs, the shortest prefix that is foreseen to be as good as all (steering.py)
          │  none where all are foreseen to be no better than plain INT8: no graph can decide it, and the report says so
    int8_mixed, tried on every calibration image; where it falls short of the forecast, all that fit are tried once

A pipeline comes here only where plain INT8 was judged and is not within its budgets. Only calibration images are asked:
those that judge the bundle never choose its layers. A model may have been trained on
its calibration images, and there are few of them. So a task *holds* only if its drop's interval is within ± ``margin``
of its budget, in both directions: an improvement is as much a sign of noise as a drop. A task that none of these images has a
label for, or whose metric is 0 in float, has no say: no layer could fix it. The minimum of images that a verdict needs is
not asked for: what is found here is judged on others, and the report names the tasks with fewer. Where a metric is too noisy for
that on so few images, whatever the graph, the next best is asked for: that the rule which judges the bundle passes every
task on them; failing that, that the drop itself is within ± ``margin`` where the images cannot tell. What is found is one
more variant, ``int8_mixed``, made from plain INT8; the judgement and the device decide which is shipped.
"""

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeAlias

import onnx_ir as ir

from bundle.base.errors import GraphError
from bundle.formats.artifacts import Quantized, Simplified, hash_file, load, write_text
from bundle.judging.sensitivity import SENSITIVITY, Forecast, LayerSensitivity, SearchReport, Step
from bundle.judging.sentences import step_ended
from calibration.sampling import CalibrationSet
from compile.graphs.fp16 import kept_ranges
from compile.quantization.accuracy import noise_of, without_labels
from compile.quantization.contenders import MIXED, PLAIN, SMOOTH
from compile.quantization.dequantize import layers_of, read_macs
from compile.quantization.formats import ONNX
from compile.quantization.nncf_calibration import CalibrationRequest, calibrate
from compile.quantization.sensitivity import LayerNoise, legalised, measure_layers
from compile.quantization.steering import (
    NEAR,
    Aim,
    affordable,
    broken,
    enough,
    foresee,
    left_by,
    level,
    order_layers,
    shortest,
)
from compile.quantization.trials import Trials
from compile.quantization.variants import QuantizationJob, scheme_of, write_quantized
from compile.stage.artifacts import QuantizedSettings, Range, VariantNote, variants_of
from compile.stage.config import SearchSettings
from compile.stage.graph_info import GRAPH_FILE, graph_info, read_settings
from compile.stage.parts import Spread
from compile.stage.store import seal, stage_tools, writing
from targets.base import RunConfig, Target, Variant, VariantRecipe
from targets.scheme import smoothed

STEERED = 16  # images that the noise of a whole graph is measured on: docs/decisions/0608
Found: TypeAlias = tuple[Variant, VariantNote]


class Layers(NamedTuple):
    """The layers whose noise is asked for, and the share of the multiply-accumulates that is never quantized."""

    work: LayerNoise
    never: float


def search(
    quantized: Quantized,
    simplified: Simplified,
    calibration: CalibrationSet,
    out: Path,
    target: Target,
    run: RunConfig,
    settings: SearchSettings,
    *,
    spread: Spread,
    progress: Callable[[str], None],
) -> Quantized:
    """Write a ``Quantized`` artifact in ``out``: all of ``quantized``, sensitivity.json, and where plain INT8 breaks a
    budget a smoothed graph, a mixed one, or both. ``spread`` says where graphs and layers are measured.

    Raises:
        DatasetError: an image or label of the calibration split is wrong.
        GraphError: a graph cannot be made.
        TargetUnavailable: a runtime is missing.
    """
    before = read_settings(QuantizedSettings, quantized)
    with writing(out, Quantized) as folder:
        for name in quantized.record.files:
            shutil.copyfile(quantized.file(name), folder / name)
        job = QuantizationJob(
            simplified.file(GRAPH_FILE), graph_info(simplified), calibration, folder, target, run, spread.store
        )
        report, found = _search(quantized, job, settings, spread, progress)
        added = {
            "variants": (*before.variants, *(variant for variant, _ in found)),
            "notes": before.notes | {variant.recipe.name: note for variant, note in found},
        }
        write_text(folder / SENSITIVITY, report.model_dump_json(indent=1) + "\n")
        extended = before.model_copy(update=added)
        seal(Quantized, folder, parent=quantized.sha256, settings=extended, tools=stage_tools("search"))
    return load(Quantized, out)


def _search(
    quantized: Quantized,
    job: QuantizationJob,
    settings: SearchSettings,
    spread: Spread,
    progress: Callable[[str], None],
) -> tuple[SearchReport, tuple[Found, ...]]:
    plain = next((variant for variant in variants_of(quantized) if variant.recipe.name == PLAIN), None)
    report = partial(SearchReport, config=settings.config, budgets=settings.budgets)
    if not settings.config.enabled:
        return report(result="switched_off"), ()
    if plain is None:
        return report(result="no_int8_graph"), ()
    images = job.calibration.ids
    labelled = tuple(name for name in job.info.tasks if name not in settings.agreement)
    if missing := without_labels(settings.dataset, images, labelled):
        return report(result="no_labels", unlabelled=len(missing), calibration_images=len(images)), ()
    trials = Trials(job, settings, spread)
    first = _try(job, plain, trials, settings)
    if first.held:
        return report(result="int8_holds", trial_images=trials.count, steps=(first,)), ()
    progress(f"search: INT8 does not hold {', '.join(first.broken)} on the calibration images")
    ranges, layers = kept_ranges(job.folder), _layers(job, trials, settings)
    before, found = [first], list[Found]()
    with spread.ahead(layers.work, layers.work.parts):
        with TemporaryDirectory(prefix=".smooth.", dir=job.folder) as scratch:
            inner = job._replace(folder=Path(scratch))
            tried = _smooth(inner, plain.recipe, ranges, trials, settings, first, progress)
            if tried is not None:
                before.append(tried[1])
                if tried[1].level > first.level:
                    found.append(_taken(tried[0], inner.folder, job.folder))
        if before[-1].held:
            return report(result="smooth_holds", trial_images=trials.count, steps=tuple(before)), tuple(found)
        rows = measure_layers(layers.work, spread, progress)
    ended, mixed = _mix(job, plain.recipe, ranges, trials, settings, tuple(before), rows, layers.never, progress)
    return ended, (*found, *(() if mixed is None else (mixed,)))


def _smooth(
    job: QuantizationJob,
    plain: VariantRecipe,
    ranges: tuple[Range, ...],
    trials: Trials,
    settings: SearchSettings,
    first: Step,
    progress: Callable[[str], None],
) -> tuple[Found, Step] | None:
    """Write the graph with SmoothQuant and try it; None where it cannot be made, or its noise says that it is no better."""
    recipe = plain.model_copy(
        update={"name": SMOOTH, "reason": "INT8 with SmoothQuant, where plain INT8 breaks a task's budget"}
    )
    try:
        found = write_quantized(recipe, job, ranges, smoothed(scheme_of(job)))
    except GraphError as error:
        progress(f"search: without SmoothQuant, for it cannot be done here: {error.got}")
        return None
    noise = noise_of(trials.see(job, found[0], STEERED).energies, STEERED)
    left = {name: noise[name] / first.noise[name] if first.noise[name] else 1.0 for name in first.tasks}
    said = ", ".join(f"{name} {left[name]:.0%}" for name in first.broken)
    if level(foresee(first.tasks, left, _aim(settings)), _aim(settings)) <= first.level:
        progress(f"search: without SmoothQuant, which leaves too much of plain INT8's noise: {said}")
        return None
    step = _try(job, found[0], trials, settings, smooth=True)
    progress(f"search: with SmoothQuant, at {said} of plain INT8's noise: {step_ended(step, settings.config.margin)}")
    return found, step


def _taken(found: Found, scratch: Path, folder: Path) -> Found:
    """Copy a variant's files from where it was tried."""
    for name in found[0].files:
        shutil.copyfile(scratch / name, folder / name)
    return found


def _mix(
    job: QuantizationJob,
    plain: VariantRecipe,
    ranges: tuple[Range, ...],
    trials: Trials,
    settings: SearchSettings,
    before: tuple[Step, ...],
    rows: tuple[LayerSensitivity, ...],
    never: float,
    progress: Callable[[str], None],
) -> tuple[SearchReport, Found | None]:
    """Return layers of the plain graph to float, None if not one fits; ``before`` are the plain graph's step and, if there is one, the smoothed one's.

    ``never`` is the share of the multiply-accumulates that is not quantized at all.
    """
    first, aim = before[0], _aim(settings)
    ordered = affordable(order_layers(rows, first.broken), settings.config.limit - never)
    report = partial(
        SearchReport,
        config=settings.config,
        budgets=settings.budgets,
        images=settings.config.images,
        trial_images=trials.count,
        layers=rows,
        never_quantized_share=never,
        enough=enough(rows, first.tasks, aim, never),
    )
    count = shortest(ordered, rows, first.tasks, aim)
    if not count:
        forecast = _forecast(first, rows, ordered, aim)
        return report(result="undecidable" if ordered else "no_layer_fits", steps=before, forecast=forecast), None
    recipe = plain.model_copy(
        update={"name": MIXED, "graph": "mixed", "reason": "INT8, and in float the layers that cost a task most"}
    )
    steps, kept = list[Step](), dict[int, tuple[Found, Path]]()
    with TemporaryDirectory(prefix=".mixed.", dir=job.folder) as scratch:
        for number in dict.fromkeys((count, len(ordered))):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            inner, chosen = job._replace(folder=folder), frozenset(row.name for row in ordered[:number])
            kept[number] = (write_quantized(recipe, inner, ranges, scheme_of(job), chosen), folder)
            share = sum(row.macs_share for row in ordered[:number])
            steps.append(_try(inner, kept[number][0][0], trials, settings, in_float=number, share=share))
            progress(
                f"search: {number} layers in float, {share:.1%} of the MACs: {step_ended(steps[-1], settings.config.margin)}"
            )
            if steps[-1].level >= level(foresee(first.tasks, left_by(rows, ordered[:number]), aim), aim):
                break
        best = max(steps, key=lambda step: step.level)
        mixed = _taken(*kept[best.layers_in_float], job.folder)
    names = tuple(row.name for row in ordered[: best.layers_in_float])
    others = tuple(step for step in steps if step is not best)
    return report(result="mixed", steps=(*before, *others, best), layers_in_float=names), mixed


def _forecast(
    first: Step, rows: Sequence[LayerSensitivity], ordered: Sequence[LayerSensitivity], aim: Aim
) -> dict[str, Forecast]:
    """Return what would be left of each broken task's noise, and its interval, with all layers in float that may be."""
    left = left_by(rows, ordered)
    foreseen = foresee(first.tasks, left, aim)
    return {name: Forecast(noise_left=left[name], interval=foreseen[name].interval) for name in first.broken}


def _aim(settings: SearchSettings) -> Aim:
    return Aim(settings.budgets, settings.config.margin)


def _layers(job: QuantizationJob, trials: Trials, settings: SearchSettings) -> Layers:
    """Return every layer of the calibrated graph as the target's passes leave it."""
    request = CalibrationRequest(job.source, job.info, job.calibration, scheme_of(job), ONNX, job.run.threads)
    calibrated = calibrate(request, job.cache)
    macs = read_macs(job.source)
    whole = sum(macs.values())
    graph = legalised(calibrated, job.target.passes, job.cache)
    layers = layers_of(ir.load(graph), macs)
    work = LayerNoise(
        files={str(path): hash_file(path) for path in (graph, job.source)},
        images=trials.first(settings.config.images),
        quantized=graph,
        original=job.source,
        shares={layer.name: layer.macs / whole for layer in layers},
        threads=job.run.threads,
    )
    return Layers(work, 1.0 - sum(layer.macs for layer in layers) / whole)


def _try(
    job: QuantizationJob,
    variant: Variant,
    trials: Trials,
    settings: SearchSettings,
    *,
    in_float: int = 0,
    share: float = 0.0,
    smooth: bool = False,
) -> Step:
    seen = trials.see(job, variant, trials.count)
    tasks = trials.evaluator.judge(seen.metrics)
    passed = all(value.verdict == "pass" for value in tasks.values() if value.defined)
    return Step(
        layers_in_float=in_float,
        macs_share=share,
        tasks=tasks,
        broken=broken(tasks, _aim(settings)),
        passed=passed,
        near=level(tasks, _aim(settings)) >= NEAR,
        smooth=smooth,
        noise=noise_of(seen.energies, STEERED),
    )
