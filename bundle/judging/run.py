"""The regression harness: run a compiled model on labelled images and judge every task against the reference.

The same function runs at the end of a build and on the device. It holds one image at a time, needs no torch, and does
not know what runs the graph. The caller gives ``infer`` and what it ran on. It returns a report
(bundle/judging/regression_report.py).
"""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np

from bundle.formats.manifest import Bundle, Manifest
from bundle.judging.baseline import compare, pack
from bundle.judging.criteria import Judging
from bundle.judging.evaluate_image import ImageResult, Infer, evaluate_image
from bundle.judging.image_sources import References, Source, bundled, figures_of
from bundle.judging.regression_report import (
    Execution,
    FigureResult,
    RegressionReport,
    TaskCheck,
    TaskResult,
    WorstImage,
)
from bundle.judging.resume import Journal
from bundle.judging.session_timeout import guarded
from bundle.judging.verdict import RESAMPLES, Gate, Weighed, delta_m, delta_m_interval, judge, weigh
from bundle.tasks.agreement import ENERGIES, cosine, sqnr_db
from bundle.tasks.metrics import Floats, Metric
from bundle.tasks.table import task

WORST = 5
Progress = Callable[[int, int], None]


def run(
    bundle: Bundle,
    infer: Infer,
    execution: Execution,
    *,
    allow_inconclusive: bool = False,
    resamples: int = RESAMPLES,
    gate: Gate = "one-sided",
    source: Source | None = None,
    journal: Journal | None = None,
    limit_s: float = 0.0,
    baseline: RegressionReport | None = None,
    progress: Progress | None = None,
) -> RegressionReport:
    """Run ``infer`` on every image and judge every task.

    ``source`` replaces the bundle's own images. ``journal`` keeps what was measured until the caller has written the
    report. ``limit_s`` bounds one inference (0: no limit). ``baseline`` is an earlier run to compare with and gate
    by. ``progress`` is called with the images done and all. NaN or infinity in an output fails that task and no other.

    Raises:
        ArtifactError: an output is missing or has another name, dtype, shape or range than the manifest says.
        SessionFailed: the session raised an error of its own, or took longer than ``limit_s``.
        InputError: ``baseline`` cannot be compared with this run.
    """
    with bundled(bundle) if source is None else nullcontext(source) as images:
        seen = _measure(bundle.manifest, images, infer, journal, limit_s, progress)
    judging = Judging(gate, resamples, allow_inconclusive)
    return _report(bundle.manifest, images, seen, execution, judging, baseline)


def judge_seen(
    bundle: Bundle, seen: dict[str, dict[str, ImageResult]], execution: Execution, *, allow_inconclusive: bool
) -> RegressionReport:
    """Judge what the bundle's own images showed of every task, in their order; see ``run``."""
    with bundled(bundle) as images:
        judging = Judging("one-sided", RESAMPLES, allow_inconclusive)
        return _report(bundle.manifest, images, seen, execution, judging, None)


def _measure(
    manifest: Manifest, source: Source, infer: Infer, journal: Journal | None, limit_s: float, progress: Progress | None
) -> dict[str, dict[str, ImageResult]]:
    """Return what every image showed of every task, in the order of the images; a journal's images are not run again."""
    seen: dict[str, dict[str, ImageResult]] = {}
    for stored in source.images():
        known = None if journal is None else journal.seen.get(stored.id)
        result = evaluate_image(stored, guarded(infer, stored.id, limit_s), manifest) if known is None else known
        if journal is not None and known is None:
            journal.add(stored.id, result)
        seen[stored.id] = result
        if progress is not None:
            progress(len(seen), max(len(seen), len(source.ids) + source.hard))
    return seen


def _report(
    manifest: Manifest,
    source: Source,
    seen: dict[str, dict[str, ImageResult]],
    execution: Execution,
    judging: Judging,
    baseline: RegressionReport | None,
) -> RegressionReport:
    figures = figures_of(manifest)
    arrays = {name: _stacked(seen, source.ids, name, rows) for name, rows in figures.items()}
    per_task = {name: {key: rows[name] for key, rows in seen.items()} for name in figures}
    weighed = {
        name: _spoilt(_weigh(manifest, name, rows[0], arrays, source.references, judging), per_task[name])
        for name, rows in figures.items()
    }
    judged = [task.judgement for task in weighed.values()]
    gated = {name: arrays[name][rows[0].name] for name, rows in figures.items()}
    earlier = None if baseline is None else compare(baseline, source.ids, gated, manifest, judging)
    others = {
        name: _figures(manifest, name, rows[1:], arrays, source.references, judging) for name, rows in figures.items()
    }
    at = manifest.dataset.metrics_at
    return RegressionReport(
        schema_version=3 if at == "model" else 4,
        metrics_at=at,
        model=manifest.name,
        target=manifest.target,
        device=execution.device,
        precision=execution.precision,
        executed_on=execution.executed_on,
        images=len(source.ids),
        tasks={name: _result(manifest, name, one, per_task[name], others[name]) for name, one in weighed.items()},
        delta_m=delta_m([judgement.drop for judgement in judged]),
        passed=all(judgement.verdict in judging.accepted for judgement in judged)
        and (earlier is None or earlier.passed),
        delta_m_interval=delta_m_interval(list(weighed.values())),
        gate=judging.gate,
        source=source.name,
        session=execution.facts,
        checks={name: _check(name, per_task[name]) for name in weighed},
        baseline=earlier,
        arrays=pack(source.ids, gated),
    )


def _stacked(
    seen: dict[str, dict[str, ImageResult]], ids: tuple[str, ...], name: str, figures: tuple[Metric, ...]
) -> dict[str, Floats]:
    return {figure.name: np.stack([seen[key][name].figures[figure.name] for key in ids]) for figure in figures}


def _weigh(
    manifest: Manifest,
    name: str,
    figure: Metric,
    arrays: dict[str, dict[str, Floats]],
    references: References,
    judging: Judging,
) -> Weighed:
    """Judge a task by its gated figure; without a reference nothing can be judged, so it is inconclusive."""
    ours = arrays[name][figure.name]
    theirs = references.get(name, {}).get(figure.name)
    rule = judging.rule(manifest, name, figure)
    weighed = weigh(np.zeros_like(ours) if theirs is None else theirs, ours, rule)
    if theirs is not None or weighed.judgement.verdict != "inconclusive":
        return weighed
    return Weighed(weighed.judgement.model_copy(update={"cause": "no_reference"}), weighed.draws)


def _spoilt(weighed: Weighed, seen: dict[str, ImageResult]) -> Weighed:
    """Turn a verdict into ``regression`` where an image that counts for no metric, a hard one, gave NaN or infinity."""
    bad = [key for key, one in seen.items() if not one.finite]
    if not bad or weighed.judgement.verdict == "regression":
        return weighed
    changes = {"verdict": "regression", "cause": "hard_not_finite", "images_needed": None}
    return Weighed(weighed.judgement.model_copy(update=changes), weighed.draws)


def _figures(
    manifest: Manifest,
    name: str,
    figures: tuple[Metric, ...],
    arrays: dict[str, dict[str, Floats]],
    references: References,
    judging: Judging,
) -> dict[str, FigureResult]:
    results = {}
    for figure in figures:
        ours, theirs = arrays[name][figure.name], references.get(name, {}).get(figure.name)
        rule = judging.rule(manifest, name, figure)._replace(gate="one-sided")
        judged = judge(np.zeros_like(ours) if theirs is None else theirs, ours, rule)
        results[figure.name] = FigureResult(
            direction=figure.direction,
            reference=judged.reference,
            compiled=judged.compiled,
            drop_relative=judged.drop,
            interval=judged.interval,
        )
    return results


def _result(
    manifest: Manifest, name: str, weighed: Weighed, seen: dict[str, ImageResult], figures: dict[str, FigureResult]
) -> TaskResult:
    row, judgement = manifest.row(name), weighed.judgement
    return TaskResult(
        metric=row.metric,
        direction=row.direction,
        reference=judgement.reference,
        compiled=judgement.compiled,
        labelled_images=judgement.labelled_images,
        drop_relative=judgement.drop,
        interval=judgement.interval,
        budget=manifest.budgets[name],
        verdict=judgement.verdict,
        sqnr_db=sqnr_db(_powers(seen)),
        cause=judgement.cause,
        images_needed=judgement.images_needed,
        figures=figures,
    )


def _powers(seen: dict[str, ImageResult]) -> Floats:
    return np.sum([image.energies for image in seen.values()], axis=0) if seen else np.zeros(ENERGIES)


def _check(name: str, seen: dict[str, ImageResult]) -> TaskCheck:
    """Return the direct agreement; answers of which every pixel is kept, others are compared where they are kept in full."""
    kind, bad = task(name).kind, [key for key, one in seen.items() if not one.finite]
    exact = [image.change if kind.all_pixels else image.full_change for image in seen.values()]
    known = sorted(((one.change, key) for key, one in seen.items() if one.change > 0), key=lambda pair: -pair[0])
    return TaskCheck(
        nonfinite_images=len(bad),
        nonfinite=tuple(bad[:WORST]),
        agreement=_mean([image.agreement for image in seen.values()]),
        cosine=cosine(_powers(seen)),
        change=_mean(exact),
        change_unit=kind.change_unit,
        worst=tuple(WorstImage(id=key, change=value) for value, key in known[:WORST]),
    )


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
