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
from bundle.choice import BENCH, CHOICE, Bench, Choice, choose, with_variants
from bundle.contents import VECTORS
from bundle.manifest import Bundle, Manifest
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
from targets.base import Precision, RunConfig, Session, Target
from targets.open import execution

TOOLS = ("openvino", "onnxruntime", "torch", "numpy")


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
    model.keep(tuple(terms.draft.tasks))
    sizes: dict[str, int] = {v.recipe.name: sum(engine.file(name).stat().st_size for name in v.files) for v in variants}
    with ExitStack() as stack:
        sessions = {
            v.recipe.name: stack.enter_context(target.open(engine.folder, v, run_config, "auto", keep=engine.folder))
            for v in variants
        }
        latency, eager_ms = _latencies(sessions, model, vectors, terms, run_config.threads)
        reports: dict[str, RegressionReport] = {
            name: _judge_one(session, vectors, terms) for name, session in sessions.items()
        }
    choice = choose(reports, latency, eager_ms, terms.timing.gain)
    report = with_variants(reports, choice, sizes)
    emulated = eager_ms is None
    timing = (0, 0) if emulated else (terms.timing.runs, terms.timing.warmup)
    bench = Bench(
        eager_ms=eager_ms, f32_compiled_ms=latency.get("f32"), shipped_ms=latency.get(choice.shipped),
        shipped_precision=choice.shipped, runs=timing[0], warmup=timing[1],
    )  # fmt: skip
    with writing(out, Judged) as folder:
        write_report(folder, report)
        # the six keys others read, and no more: what only a device measures is left out, version 1 goes without saying
        write_result(folder, BENCH, bench.model_dump_json(indent=2, exclude_defaults=True) + "\n")
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


def _judge_one(session: Session, vectors: ReferenceVectors, terms: Terms) -> RegressionReport:
    opened = Bundle(folder=vectors.folder, manifest=terms.draft)
    return run(opened, session.infer, execution(session), allow_inconclusive=terms.allow_inconclusive)
