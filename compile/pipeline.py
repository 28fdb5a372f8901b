"""The context end to end: a checkpoint to a judged bundle, stage by stage through the store.

export → simplify → fold → rewrite → quantize → build ┐
                                 vectors ───┴→ judge → the bundle
                                               │ plain INT8 is not within its budgets
                                               └→ search → build → judge → the bundle

Each stage's module is imported where it makes something: a build whose every artifact is in the store imports no such tool.
"""

if not __package__:
    import _path  # noqa: F401

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Annotated, NamedTuple

import typer
from pydantic import JsonValue

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer, say
from bundle.formats.artifacts import ArtifactT, Engine, Exported, Folded, Quantized, Simplified, hash_file
from bundle.formats.image_hash import hash_labelled
from bundle.formats.manifest import Io, Manifest
from bundle.judging.checks import require_agreement, require_passed
from bundle.judging.regression_report import RegressionReport, read_report
from bundle.judging.sensitivity import read_sensitivity
from bundle.judging.sentences import search_ended
from bundle.transport.signature import sign
from calibration.image_files import ImageFiles
from compile.evaluation import judge, vectors
from compile.evaluation.build_context import BuildContext, Say, prepare_build
from compile.evaluation.summary import describe, next_steps
from compile.publish import StageArtifacts, draft_manifest, publish, publish_runtime, ship, unchanged
from compile.quantization.contenders import why_search
from compile.stage.artifacts import Judged, ReferenceVectors, savings, variants_of
from compile.stage.command import run_script, timed
from compile.stage.config import BuildConfig, FreezeOptions, SearchSettings, given_settings, load_config
from compile.stage.console import EscapingConsole
from compile.stage.options import BUDGETS, FOLD_MODE, SHIPPED_DATA, SHIPPED_MODEL, TARGET
from compile.stage.store import in_use, obtain, stage_key
from compile.tensorrt_checks.plan_text import describe as describe_plans
from compile.tensorrt_checks.plan_text import require_plan
from report.terminal import tasks_table
from targets.folding import rates_of
from tdss.card import CARD

STORE = ".store"
CHECK_IMAGES = 2
FROZEN_IMAGES = 32


class Built(NamedTuple):
    """What the stages made: the artifacts, the manifest but for what is shipped, and how the variants fared."""

    parts: StageArtifacts
    draft: Manifest
    judged: Judged


def build_bundle(config: BuildConfig, progress: Say) -> Path:
    """Compile a checkpoint into the bundle ``<out>/<model>/<target>/``, judge it, and return its folder.

    ``progress`` gets a line for each stage. A bundle that is not within its budgets is written too: ``build_and_judge``
    says which it is.

    Raises:
        InputError: the configuration, the checkpoint or the data cannot be used.
        TargetUnavailable: a runtime or device is missing.
    """
    return build_and_judge(config, progress)[0]


def build_and_judge(config: BuildConfig, progress: Say) -> tuple[Path, RegressionReport]:
    """Build as ``build_bundle`` does, and return with the folder how this build was judged.

    The folder's own regression.json may be another's: whoever judges the bundle later, on other terms, writes there.
    """
    context = prepare_build(config, progress)
    with in_use(config.out / STORE):
        return _run_stages(context)


def _run_stages(context: BuildContext) -> tuple[Path, RegressionReport]:
    built = _compile_and_judge(context)
    manifest = ship(built.draft, judge.read_choice(built.judged), built.judged.sha256)
    folder, start = context.folder, perf_counter()
    if unchanged(folder, manifest):
        context.say(f"bundle: unchanged, {folder}")
    else:
        publish(folder, manifest, built.parts, built.judged, context.run)
        context.say(f"bundle: {folder} ({perf_counter() - start:.1f} s)")
    if context.config.sign is not None:
        context.say(f"bundle: signed, {sign(folder, context.config.sign).name}")
    lines = describe(judge.read_choice(built.judged), judge.read_bench(built.judged))
    for line in [*lines, *publish_runtime(folder, manifest)]:
        context.say(line)
    return folder, read_report(built.judged.folder)


def _compile_and_judge(context: BuildContext) -> Built:
    """Run every stage; where plain INT8 was judged and is not within its budgets, search for what repairs it, and judge again."""
    exported = _export(context)
    folded = _fold(context, _simplify(context, exported))
    simplified = _rewrite(context, folded)
    quantized, reference = _quantize(context, simplified), _vectors(context)
    engine = _build(context, quantized)
    built = _judge(context, StageArtifacts(exported, folded, simplified, quantized, engine, reference))
    reason = why_search(judge.read_choice(built.judged))
    if not reason or not context.config.search.enabled:
        context.say("  search: switched off" if reason else "  search: not needed, no variant needs repair")
        return built
    context.say(f"  search: {reason}")
    found = _search(context, simplified, quantized)
    if len(variants_of(found)) > len(variants_of(quantized)):
        return _judge(context, built.parts._replace(quantized=found, engine=_build(context, found)))
    return _judge(context, built.parts._replace(quantized=found))


def _stage(
    context: BuildContext,
    kind: type[ArtifactT],
    name: str,
    *,
    inputs: tuple[str, ...],
    settings: dict[str, JsonValue],
    make: Callable[[Path], ArtifactT],
) -> ArtifactT:
    """Take a stage's artifact from the store, or make it: its name comes first, and its time last."""
    made: list[Path] = []

    def make_timed(out: Path) -> ArtifactT:
        made.append(out)
        with timed(name, context.say):
            return make(out)

    key = stage_key(name, inputs=inputs, settings=settings)
    artifact = obtain(context.config.out / STORE, kind, key, make_timed, context.say)
    if not made:
        context.say(f"{name}: unchanged, taken from {key.digest}")
    return artifact


def _check_images(context: BuildContext) -> ImageFiles:
    return context.calibration.first(CHECK_IMAGES)


def _export(context: BuildContext) -> Exported:
    config, images, io, threads = context.config, _check_images(context), context.config.io, context.config.threads

    def make(out: Path) -> Exported:
        from compile.export import export

        return export(config.checkpoint, out, io, images, context.say, threads=threads)

    inputs = (context.checkpoint_sha256, images.sha256)
    return _stage(context, Exported, "export", inputs=inputs, settings={"io": io}, make=make)


def hash_card(checkpoint: Path) -> str:
    """Hash the card, whose metrics scale what freezing a gate costs where there are no labels; "" where there is none."""
    return hash_file(checkpoint / CARD) if (checkpoint / CARD).is_file() else ""


def _simplify(context: BuildContext, exported: Exported) -> Simplified:
    images, threads = _check_images(context), context.config.threads

    def make(out: Path) -> Simplified:
        from compile.simplify import simplify

        return simplify(exported, out, images, threads=threads)

    return _stage(context, Simplified, "simplify", inputs=(exported.sha256, images.sha256), settings={}, make=make)


def _fold(context: BuildContext, simplified: Simplified) -> Folded:
    config, images, threads = context.config, _check_images(context), context.config.threads
    rates = rates_of(context.target.name)
    inputs: tuple[str, ...] = (simplified.sha256, images.sha256)
    settings: dict[str, JsonValue] = {"mode": config.fold, "rates": rates.model_dump(), "tasks": list(config.tasks)}
    if config.freeze_gates:
        seen = context.calibration.first(FROZEN_IMAGES)
        labels = hash_labelled(context.dataset, tuple(path.stem for path in seen.paths), tuple(context.model.tasks))
        inputs = (*inputs, seen.sha256, labels, hash_card(config.checkpoint))
        settings |= {"budgets": dict(context.budgets)}

    def make(out: Path) -> Folded:
        from compile.fold import fold
        from tdss.card import load_card

        freezing, card = None, load_card(config.checkpoint)
        if config.freeze_gates:
            scales = {} if card is None else card.metrics
            freezing = FreezeOptions(images=seen, labels=context.dataset, budgets=context.budgets, scales=scales)
        return fold(
            simplified,
            out,
            images,
            config.fold,
            rates,
            context.say,
            threads=threads,
            tasks=config.tasks,
            freezing=freezing,
        )

    folded = _stage(context, Folded, "fold", inputs=inputs, settings=settings, make=make)
    context.say(f"  {savings(folded)}")
    return folded


def _rewrite(context: BuildContext, folded: Folded) -> Simplified:
    images, threads = _check_images(context), context.config.threads
    names = context.target.rewrites(context.target.capabilities(context.run))

    def make(out: Path) -> Simplified:
        from compile.rewrite import rewrite

        return rewrite(folded, out, names, images, threads=threads)

    inputs = (folded.sha256, images.sha256)
    settings: dict[str, JsonValue] = {"rewrites": list(names)}
    return _stage(context, Simplified, "rewrite", inputs=inputs, settings=settings, make=make)


def _target_settings(context: BuildContext) -> dict[str, JsonValue]:
    """What a target's answer depends on besides the graph: its name, the run settings and what the device can do."""
    able = context.target.capabilities(context.run)
    return {
        "target": context.target.name,
        "run": context.run.model_dump(mode="json"),
        "capabilities": able.model_dump(mode="json"),
    }


def _quantize(context: BuildContext, simplified: Simplified) -> Quantized:
    def make(out: Path) -> Quantized:
        from compile.quantize import quantize

        return quantize(
            simplified, context.calibration, out, context.target, context.run, cache=context.config.out / STORE
        )

    inputs = (simplified.sha256, context.calibration.sha256)
    return _stage(context, Quantized, "quantize", inputs=inputs, settings=_target_settings(context), make=make)


def _search(context: BuildContext, simplified: Simplified, quantized: Quantized) -> Quantized:
    """Add a smoothed or a mixed graph where plain INT8 breaks a budget on the calibration images; never asks those that judge."""
    config = context.config
    terms = SearchSettings(context.dataset, context.budgets, config.seed, config.search)
    labels = hash_labelled(context.dataset, context.calibration.ids, tuple(context.model.tasks))
    settings = _target_settings(context) | {
        "budgets": dict(context.budgets),
        "seed": config.seed,
        "search": config.search.model_dump(mode="json"),
    }

    def make(out: Path) -> Quantized:
        from compile.quantization.mixed_precision import search

        return search(
            quantized,
            simplified,
            context.calibration,
            out,
            context.target,
            context.run,
            terms,
            cache=config.out / STORE,
            progress=context.say,
        )

    inputs = (quantized.sha256, labels)
    found = _stage(context, Quantized, "search", inputs=inputs, settings=settings, make=make)
    if report := read_sensitivity(found.folder):
        context.say(f"  search: {search_ended(report)}")
    return found


def _build(context: BuildContext, quantized: Quantized) -> Engine:
    def make(out: Path) -> Engine:
        from compile.build import build

        return build(quantized, out, context.target, context.run)

    engine = _stage(context, Engine, "build", inputs=(quantized.sha256,), settings=_target_settings(context), make=make)
    for line in describe_plans(engine.folder):
        context.say(line)
    return engine


def _vectors(context: BuildContext) -> ReferenceVectors:
    config, tasks, drawn = context.config, tuple(context.model.tasks), context.evaluation
    hard, threads, progress = config.evaluation.hard, config.threads, context.say
    seen = hash_labelled(context.dataset, drawn.ids + drawn.rest, tasks)
    settings: dict[str, JsonValue] = {"ids": list(drawn.ids), "candidates": list(drawn.rest), "hard": hard}
    return _stage(
        context,
        ReferenceVectors,
        "vectors",
        inputs=(context.checkpoint_sha256, seen),
        settings=settings,
        make=lambda out: vectors.record_vectors(
            config.checkpoint, context.dataset, drawn, out, tasks=tasks, hard=hard, threads=threads, progress=progress
        ),
    )


def _judge(context: BuildContext, parts: StageArtifacts) -> Built:
    config = context.config
    draft = draft_manifest(
        config, context.model, context.dataset, context.calibration, context.checkpoint_sha256, parts, context.budgets
    )
    terms = judge.JudgeSettings(draft, config.timing, config.allow_inconclusive)
    settings = _target_settings(context) | {
        "budgets": dict(draft.budgets),
        "seed": draft.seeds.bootstrap,
        "timing": terms.timing.model_dump(mode="json"),
        "allow_inconclusive": terms.allow_inconclusive,
    }
    judged = _stage(
        context,
        Judged,
        "judge",
        inputs=(parts.engine.sha256, parts.vectors.sha256, context.checkpoint_sha256),
        settings=settings,
        make=lambda out: judge.judge(
            parts.engine, parts.vectors, config.checkpoint, out, context.target, context.run, terms
        ),
    )
    return Built(parts, draft, judged)


def main(
    context: typer.Context,
    target: Annotated[str | None, TARGET] = None,
    checkpoint: Annotated[Path | None, typer.Option(help=f"The checkpoint's folder. Default: {SHIPPED_MODEL}.")] = None,
    data: Annotated[Path | None, typer.Option(help=f"A labelled folder. Default: {SHIPPED_DATA}.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="The data's spec. Default: dataset.json in the data.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with these settings; options go over it.")] = None,
    calibration_split: Annotated[str | None, typer.Option(help="Whose images calibrate. Default: calibration.")] = None,
    calibration_count: Annotated[int | None, typer.Option(help="How many. Default: 64.")] = None,
    evaluation_split: Annotated[str | None, typer.Option(help="Whose images judge. Default: val.")] = None,
    evaluation_count: Annotated[int | None, typer.Option(help="How many. Default: 100.")] = None,
    io: Annotated[Io | None, typer.Option(help="raw: tensors. edge: camera frames in, maps out. Default: raw.")] = None,
    fold_mode: Annotated[str | None, FOLD_MODE] = None,
    tasks: Annotated[str | None, typer.Option(help="Build these only: semseg,depth. Default: every task.")] = None,
    freeze_gates: Annotated[
        bool | None, typer.Option("--freeze-gates", help="Approximate: freeze the gates that the budgets allow.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="The runtime's device. Default: the target's choice.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads. Default: the runtime's choice.")] = None,
    budgets: Annotated[str | None, BUDGETS] = None,
    search_limit: Annotated[float | None, typer.Option(help="MACs that may stay in float. Default: 0.1.")] = None,
    allow_inconclusive: Annotated[
        bool | None, typer.Option("--allow-inconclusive", help="Accept undecided verdicts; each is named.")
    ] = None,
    timing_runs: Annotated[int | None, typer.Option(help="Timed rounds. Default: 15.")] = None,
    timing_warmup: Annotated[int | None, typer.Option(help="Untimed rounds before them. Default: 3.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draws and the bootstrap. Default: 0.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="For bundles and the stage store. Default: build, in the working directory.")
    ] = None,
    sign_with: Annotated[Path | None, typer.Option("--sign", help="Sign the bundle with this private key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bundle's folder and regression.json.")] = False,
) -> None:
    """Compile a checkpoint for a target: every stage, the bundle, the regression table.

    Example: tdss pipeline --target intel --checkpoint my-model --data my-data
    """
    asked = load_config(config, given_settings(context.params))
    folder, report = build_and_judge(asked, say)
    if as_json:
        told = report.model_dump(mode="json", by_alias=True, exclude={"arrays"})
        print_answer(dumps({"bundle": str(folder), "regression": told}))
    else:
        EscapingConsole().print(tasks_table(report))
    _require(asked, folder, report)


def _require(asked: BuildConfig, folder: Path, report: RegressionReport) -> None:
    """End the command with what is not as it must be: a task, the answers' agreement, a plan; say what to do next."""
    for line in next_steps(asked, report, folder):
        say(line)
    require_passed(report)
    require_agreement(report)
    require_plan(folder)


if __name__ == "__main__":
    run_script(main)
