"""Judge: measure every variant of an engine in one interleaved run, and ship the fastest that is within its budgets.

Where variants only run as an emulation, time says nothing: the narrowest precision within the budgets is shipped, and
the device has the last word. A narrower variant must beat a wider one by the timing's ``gain``, so that noise does not
decide between equals. If no variant is within the budgets, the most precise one is shipped and the build fails.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bundle.artifacts import Engine, load
from bundle.manifest import VECTORS, Bundle, Manifest
from bundle.regression import RegressionReport, run, write_report
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
NARROWER: dict[Precision, int] = {"f32": 0, "f16": 1, "bf16": 1, "int8": 2}


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
    model = EagerModel(checkpoint)
    with ExitStack() as stack:
        sessions = {
            v.recipe.name: stack.enter_context(target.open(engine.folder, v, run_config, "auto"))
            for v in variants_of(engine)
        }
        latency, eager_ms = _latencies(sessions, model, vectors, terms, run_config.threads)
        choice, report = _choose(sessions, latency, eager_ms, vectors, terms)
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

    With latencies: by latency / gainⁿ, n being 0 for f32, 1 for f16 and bf16, 2 for int8. Without: the narrowest first.
    """
    if not latency:
        return sorted(names, key=lambda name: -NARROWER[name])
    return sorted(names, key=lambda name: latency[name] / gain ** NARROWER[name])


def _choose(
    sessions: dict[Precision, Session], latency: dict[str, float], eager_ms: float | None, vectors: ReferenceVectors,
    terms: Terms,
) -> tuple[Choice, RegressionReport]:  # fmt: skip
    """Judge the variants in order until one passes."""
    reports: dict[Precision, RegressionReport] = {}
    ranked = order(list(sessions), latency, terms.timing.gain)
    for name in ranked:
        reports[name] = _judge_one(sessions[name], vectors, terms)
        if reports[name].passed:
            break
    shipped = next((name for name in reports if reports[name].passed), min(ranked, key=lambda name: NARROWER[name]))
    candidates = tuple(_candidate(name, latency, reports, shipped) for name in sessions)
    reason = _reason(shipped, reports, emulated=not latency)
    return Choice(shipped=shipped, reason=reason, eager_ms=eager_ms, candidates=candidates), reports[shipped]


def _judge_one(session: Session, vectors: ReferenceVectors, terms: Terms) -> RegressionReport:
    opened = Bundle(folder=vectors.folder, manifest=terms.draft)
    return run(opened, session.infer, execution(session), allow_inconclusive=terms.allow_inconclusive)


def _candidate(
    name: Precision, latency: dict[str, float], reports: dict[Precision, RegressionReport], shipped: Precision
) -> Candidate:
    report = reports.get(name)
    if name == shipped:
        reason = "shipped"
    elif report is None:
        reason = "not judged: it would not have been chosen over the shipped one"
    else:
        beyond = [f"{task} {result.verdict}" for task, result in report.tasks.items() if result.verdict != "pass"]
        reason = f"not shown to be within its budgets: {', '.join(beyond)}"
    verdicts = {} if report is None else {task: str(result.verdict) for task, result in report.tasks.items()}
    return Candidate(name=name, latency_ms=latency.get(name), verdicts=verdicts, reason=reason)


def _reason(shipped: Precision, reports: dict[Precision, RegressionReport], *, emulated: bool) -> str:
    if not reports[shipped].passed:
        return "no variant is within its budgets; the most precise one is shipped, and the build fails"
    if emulated:
        return "the narrowest precision within its budgets under emulation; the device decides by measuring"
    return "the fastest variant within its budgets, measured here"
