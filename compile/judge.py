"""Judge: time every variant of an engine in one interleaved run, judge each, and ship the fastest within its budgets.

Where variants only run as an emulation, time says nothing: the narrowest precision within the budgets is shipped, and
the device has the last word. A narrower variant must beat a wider one by the timing's ``gain``, so that noise does not
decide between equals. If no variant is within the budgets, the most precise one is shipped and the build fails. The
table of all variants goes into regression.json, with a reason for each.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bundle.artifacts import Engine, load
from bundle.manifest import VECTORS, Bundle, Manifest
from bundle.regression import RegressionReport, VariantRow, run, variant_tasks, write_report
from bundle.regression import feed as feed_of
from bundle.results import write_result
from bundle.vectors import Stored, Vectors
from compile.bench import measure
from compile.config import TimingConfig
from compile.eager import EagerModel, torch_threads
from compile.quantize import variants_of
from compile.store import seal, tool_versions, writing
from compile.stored import Judged, ReferenceVectors
from report.facts import BENCH, CHOICE, Bench, Candidate, Choice
from targets.base import Precision, RunConfig, Session, Target
from targets.open import execution

TOOLS = ("openvino", "onnxruntime", "torch", "numpy")
NARROWER: dict[Precision, int] = {"f32": 0, "f16": 1, "bf16": 1, "int8_weights": 2, "int8_mixed": 3, "int8": 4}
"""How much a variant gives up: of two that are equally fast, the one with the smaller number is shipped."""


class Terms(NamedTuple):
    """What a bundle is judged by: the manifest it will have (``shipped`` is provisional), and how to time it."""

    draft: Manifest
    timing: TimingConfig
    allow_inconclusive: bool


def judge(
    engine: Engine, vectors: ReferenceVectors, checkpoint: Path, out: Path, target: Target, run_config: RunConfig,
    terms: Terms,
) -> Judged:  # fmt: skip
    """Write a ``Judged`` artifact in ``out``: the shipped variant's regression and bench, and the choice with its reasons.

    Raises:
        ArtifactError: a variant answers something other than the manifest says.
        TargetUnavailable: the runtime or the device is not here.
    """
    model, variants = EagerModel(checkpoint), variants_of(engine)
    sizes = {v.recipe.name: sum(engine.file(name).stat().st_size for name in v.files) for v in variants}
    with ExitStack() as stack:
        sessions = {
            v.recipe.name: stack.enter_context(target.open(engine.folder, v, run_config, "auto")) for v in variants
        }
        latency, eager_ms = _latencies(sessions, model, vectors, terms, run_config.threads)
        reports = {name: _judge_one(session, vectors, terms) for name, session in sessions.items()}
    choice = choose(reports, latency, eager_ms, terms.timing.gain)
    report = with_variants(reports, choice, sizes)
    emulated = eager_ms is None
    timing = (0, 0) if emulated else (terms.timing.runs, terms.timing.warmup)
    bench = Bench(
        eager_ms=eager_ms, f32_compiled_ms=latency.get("f32"), shipped_ms=latency.get(choice.shipped),
        shipped_precision=choice.shipped, runs=timing[0], warmup=timing[1],
    )  # fmt: skip
    with writing(out) as folder:
        write_report(folder, report)
        write_result(folder, BENCH, bench.model_dump_json(indent=2) + "\n")
        write_result(folder, CHOICE, choice.model_dump_json(indent=2) + "\n")
        seal(Judged, folder, parent=engine.sha256, inputs=(), outputs=(), settings={}, tools=tool_versions(*TOOLS))
    return load(Judged, out)


def read_choice(judged: Judged) -> Choice:
    """Return which variant is shipped, and why."""
    return Choice.model_validate_json(judged.file(CHOICE).read_bytes())


def _latencies(
    sessions: dict[Precision, Session], model: EagerModel, vectors: ReferenceVectors, terms: Terms, threads: int
) -> tuple[dict[str, float], float | None]:
    """Time eager PyTorch and every session on the first image; nothing where the sessions only emulate."""
    if any(session.info.executed_on == "emulation" for session in sessions.values()):
        return {}, None
    with Vectors(vectors.file(VECTORS)) as opened:
        first = next(opened.images())
    subjects: dict[str, Callable[[], object]] = {"eager": _eager(model, first)}
    subjects |= {name: _inference(session, terms.draft, first) for name, session in sessions.items()}
    with torch_threads(threads):
        measured = measure(subjects, terms.timing)
    return {name: measured[name] for name in sessions}, measured["eager"]


def _eager(model: EagerModel, stored: Stored) -> Callable[[], object]:
    return lambda: model.run(stored.image, name=stored.id)


def _inference(session: Session, draft: Manifest, stored: Stored) -> Callable[[], object]:
    fed = feed_of(draft, stored)
    return lambda: session.infer(fed)


def order(names: list[Precision], latency: dict[str, float], gain: float) -> list[Precision]:
    """Return the variants in the order in which they deserve to be shipped.

    With latencies: the fastest first, but of two the wider one unless the narrower takes less than ``gain`` of its time;
    so by latency / gainⁿ, n being 0 for f32, 1 for f16 and bf16, 2 for any kind of INT8. Without: the narrowest first.
    """
    if not latency:
        return sorted(names, key=lambda name: -NARROWER[name])
    return sorted(names, key=lambda name: (latency[name] / gain ** min(NARROWER[name], 2), NARROWER[name]))


def choose(
    reports: dict[Precision, RegressionReport], latency: dict[str, float], eager_ms: float | None, gain: float
) -> Choice:
    """Choose the first variant in ``order`` that passed, else the most precise one; give every one its reason."""
    ranked = order(list(reports), latency, gain)
    within = [name for name in ranked if reports[name].passed]
    shipped = within[0] if within else min(ranked, key=lambda name: NARROWER[name])
    candidates = tuple(_candidate(name, latency, report, shipped) for name, report in reports.items())
    reason = _reason(shipped, ranked, reports, latency)
    return Choice(shipped=shipped, reason=reason, eager_ms=eager_ms, candidates=candidates)


def with_variants(
    reports: dict[Precision, RegressionReport], choice: Choice, sizes: dict[Precision, int]
) -> RegressionReport:
    """Return the shipped variant's report with the row of every variant; ``sizes`` are the bytes of its files."""
    told = {one.name: one for one in choice.candidates}
    rows = tuple(
        VariantRow(
            name=name, precision=report.precision, tasks=variant_tasks(report), passed=report.passed,
            median_ms=told[name].latency_ms, bytes=sizes[name], isa=report.device.isa, reason=told[name].reason,
        )
        for name, report in reports.items()
    )  # fmt: skip
    [shipped] = [report for name, report in reports.items() if name == choice.shipped]
    return shipped.model_copy(update={"variants": rows})


def _judge_one(session: Session, vectors: ReferenceVectors, terms: Terms) -> RegressionReport:
    opened = Bundle(folder=vectors.folder, manifest=terms.draft)
    return run(opened, session.infer, execution(session), allow_inconclusive=terms.allow_inconclusive)


def _candidate(name: Precision, latency: dict[str, float], report: RegressionReport, shipped: Precision) -> Candidate:
    if name == shipped:
        reason = "shipped"
    elif not report.passed:
        reason = f"not shown to be within its budgets: {_beyond(report)}"
    elif not latency:
        reason = f"within its budgets; {shipped} is narrower"
    elif latency[name] < latency[shipped]:
        reason = f"within its budgets; too little faster than {shipped} to be shipped instead of it"
    else:
        reason = f"within its budgets; {latency[name] / latency[shipped]:.2f} times as slow as {shipped}"
    verdicts = {task: str(result.verdict) for task, result in report.tasks.items()}
    return Candidate(name=name, latency_ms=latency.get(name), verdicts=verdicts, reason=reason)


def _beyond(report: RegressionReport) -> str:
    return ", ".join(f"{task} {result.verdict}" for task, result in report.tasks.items() if result.verdict != "pass")


def _reason(
    shipped: Precision, ranked: list[Precision], reports: dict[Precision, RegressionReport], latency: dict[str, float]
) -> str:
    """Say in one sentence why a variant is shipped."""
    if not reports[shipped].passed:
        return "no variant is within its budgets; the most precise one is shipped, and the build fails"
    if not latency:
        return "the narrowest precision within its budgets under emulation; the device decides by measuring"
    said = f"the fastest variant within its budgets, measured here: {latency[shipped]:.1f} ms"
    if shipped != "f32" and "f32" in latency:
        said += f", f32 {latency['f32']:.1f} ms"
    faster = [name for name in ranked[: ranked.index(shipped)] if latency[name] < latency[shipped]]
    if faster:
        return f"{said}; {faster[0]} is faster ({latency[faster[0]]:.1f} ms), but {_beyond(reports[faster[0]])}"
    narrower = [name for name in latency if name in NARROWER and NARROWER[name] > NARROWER[shipped]]
    if shipped == "f32" and narrower:
        best = min(narrower, key=lambda name: latency[name])
        return f"{said}; nothing narrower gains enough ({best} {latency[best]:.1f} ms)"
    return said
