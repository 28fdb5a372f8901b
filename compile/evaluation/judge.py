"""Judge: time an engine's variants in one interleaved run, judge those that can be shipped, and ship one by bundle/judging/choice_rule.py.

Which ones can be shipped: compile/quantization/contenders.py. The others keep their times, and the reason why they were not judged.

Where noise hides which of the variants that may be shipped deserves it, as many rounds again are measured, up to the timing's
``again`` times. A checkpoint in eager PyTorch is timed in the same rounds, as a note. Where variants only run as an emulation nothing is timed.
The table of all variants goes into regression.json, with a reason for each.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bundle.formats.artifacts import Engine, load, write_text
from bundle.formats.contents import VECTORS
from bundle.formats.manifest import Bundle, Manifest
from bundle.formats.tensorrt_checks import Proof, read_proof
from bundle.formats.vectors import EvaluationSample, Vectors
from bundle.judging.choice import BENCH, CHOICE, Bench, Choice, VariantLatency
from bundle.judging.choice_rule import choose, with_variants
from bundle.judging.evaluate_image import feed as feed_of
from bundle.judging.regression_report import RESULT, RegressionReport
from bundle.judging.run import judge_seen
from bundle.judging.timing import Load, glance, load_between, measure, median, percentiles
from compile.evaluation.judged_images import JudgedImages, judged_images, work_of
from compile.evaluation.timing import sample
from compile.quantization.contenders import Contest
from compile.stage.artifacts import Judged, ReferenceVectors, variants_of
from compile.stage.config import TimingConfig
from compile.stage.machine import Machine
from compile.stage.parts import Spread
from compile.stage.reference_model import ReferenceModel
from compile.stage.store import seal, stage_tools, writing
from targets.base import RunConfig, Session, Target, Variant
from targets.open import execution

EAGER = "eager"


class JudgeSettings(NamedTuple):
    """What a bundle is judged by: the manifest it will have (``shipped`` is provisional), and how to time it.

    ``eager`` opens the reference where it is timed beside the variants, None where it is not in PyTorch. ``machine`` is
    what timing has to itself. ``spread`` says where images are judged; nothing is timed meanwhile.
    """

    draft: Manifest
    timing: TimingConfig
    allow_inconclusive: bool
    spread: Spread
    eager: Callable[[], ReferenceModel] | None = None
    machine: Machine = Machine(None)


def judge(
    engine: Engine, vectors: ReferenceVectors, out: Path, target: Target, run_config: RunConfig, settings: JudgeSettings
) -> Judged:
    """Write a ``Judged`` artifact in ``out``: the shipped variant's regression and bench, and the choice with its reasons.

    Raises:
        ArtifactError: a variant answers something other than the manifest says.
        TargetUnavailable: the runtime or the device is not here.
    """
    variants = variants_of(engine)
    moved = moved_bytes(read_proof(engine.folder), variants)
    sizes: dict[str, int] = {v.recipe.name: sum(engine.file(name).stat().st_size for name in v.files) for v in variants}
    with ExitStack() as stack:
        sessions: dict[str, Session] = {
            v.recipe.name: stack.enter_context(target.open(engine.folder, v, run_config, "auto", keep=engine.folder))
            for v in variants
        }
        works: dict[str, JudgedImages] = {
            v.recipe.name: work_of(engine, v, vectors, target, run_config, settings.draft) for v in variants
        }
        contest = Contest(
            tuple(sessions),
            lambda name: _judge_one(works[name], sessions[name], vectors, settings),
            target.profile.judged_only,
            settings.timing.gain,
            moved,
        )
        before = glance()
        rounds = _rounds(sessions, vectors, settings, contest, run_config.threads)
        machine = load_between(before, glance())
        eager = rounds.pop(EAGER, None)
        reports = contest.reports(rounds)
    eager_ms = None if eager is None else median(eager)
    choice = choose(reports, rounds, eager_ms, settings.timing.gain, contest.skipped, moved)
    report = with_variants(reports, choice, sizes)
    bench = _bench(rounds, eager, machine, choice.shipped, settings.timing)
    with writing(out, Judged) as folder:
        for name, result in ((RESULT, report), (BENCH, bench), (CHOICE, choice)):
            write_text(folder / name, result.text())
        seal(Judged, folder, parent=engine.sha256, tools=stage_tools("judge"))
    return load(Judged, out)


def moved_bytes(proof: Proof | None, variants: Sequence[Variant]) -> dict[str, float]:
    """Return the bytes that each variant's plan reads and writes for a frame; of those alone that a builder made a plan of."""
    plans = {plan.graph: plan.moved_bytes for plan in (proof.graphs if proof else ()) if plan.built}
    return {v.recipe.name: plans[v.files[0]] for v in variants if v.files[0] in plans}


def read_choice(judged: Judged) -> Choice:
    """Return which variant is shipped, and why."""
    return Choice.model_validate_json(judged.file(CHOICE).read_bytes())


def read_bench(judged: Judged) -> Bench:
    """Return what was timed."""
    return Bench.model_validate_json(judged.file(BENCH).read_bytes())


def _bench(
    rounds: dict[str, list[float]], eager: list[float] | None, load: Load, shipped: str, timing: TimingConfig
) -> Bench:
    if not rounds:
        return Bench(eager_ms=None, f32_compiled_ms=None, shipped_ms=None, shipped_precision=shipped, runs=0, warmup=0)
    rows = {name: percentiles(values) for name, values in rounds.items()}
    medians = {name: row.p50_ms for name, row in rows.items()}
    return Bench(
        eager_ms=None if eager is None else median(eager),
        f32_compiled_ms=medians.get("f32"),
        shipped_ms=medians[shipped],
        shipped_precision=shipped,
        runs=len(rounds[shipped]),
        warmup=timing.warmup,
        variants={name: VariantLatency(with_copies=row) for name, row in rows.items()},
        eager=None if eager is None else percentiles(eager),
        load=load,
    )


def _rounds(
    sessions: Mapping[str, Session], vectors: ReferenceVectors, settings: JudgeSettings, contest: Contest, threads: int
) -> dict[str, list[float]]:
    """Time the eager reference and every session on the first image; nothing where the sessions only emulate."""
    if any(session.info.executed_on == "emulation" for session in sessions.values()):
        return {}
    with Vectors(vectors.file(VECTORS)) as opened:
        first = next(opened.images())
    timing = settings.timing
    subjects: dict[str, Callable[[], object]] = {}
    if settings.eager is not None:
        subjects[EAGER] = _eager(settings.eager(), first)
    subjects |= {name: _inference(session, settings.draft, first) for name, session in sessions.items()}
    from compile.evaluation.eager import torch_threads

    with settings.machine.alone(), torch_threads(threads):
        return measure(
            lambda warmup, runs: sample(subjects, timing.model_copy(update={"warmup": warmup, "runs": runs})),
            lambda rounds: contest.unsettled({name: rows for name, rows in rounds.items() if name != EAGER}),
            warmup=timing.warmup,
            runs=timing.runs,
            again=timing.again,
        )


def _eager(model: ReferenceModel, stored: EvaluationSample) -> Callable[[], object]:
    return lambda: model.run(stored.image, name=stored.id)


def _inference(session: Session, draft: Manifest, stored: EvaluationSample) -> Callable[[], object]:
    fed = feed_of(draft, stored)
    return lambda: session.infer(fed)


def _judge_one(
    work: JudgedImages, session: Session, vectors: ReferenceVectors, settings: JudgeSettings
) -> RegressionReport:
    seen = judged_images(work, session, settings.spread)
    draft = settings.draft.model_copy(update={"files": dict(vectors.record.files)})  # all that is read of the folder
    opened = Bundle(folder=vectors.folder, manifest=draft)
    return judge_seen(opened, seen, execution(session), allow_inconclusive=settings.allow_inconclusive)
