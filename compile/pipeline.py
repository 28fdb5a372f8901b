"""The context end to end: a checkpoint, or a network of another origin, to a judged bundle, stage by stage through the store.

export → simplify → fold → rewrite → quantize → build ┐
                                 vectors ───┴→ judge → the bundle
                                               │ plain INT8 is not within its budgets
                                               └→ search → build → judge → the bundle
"""

if not __package__:
    import _path  # noqa: F401

from pathlib import Path
from time import perf_counter
from typing import Annotated, NamedTuple

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer, say
from bundle.formats.io_forms import IO_HELP, Io
from bundle.formats.manifest import Manifest, read_manifest
from bundle.judging.checks import require_agreement, require_passed
from bundle.judging.regression_report import RegressionReport, read_report
from bundle.transport.signature import sign
from compile.evaluation import judge
from compile.evaluation.build_context import BuildContext, Say, prepare_build
from compile.evaluation.summary import describe, next_steps
from compile.evaluation.terms import terms_of
from compile.publish import StageArtifacts, draft_manifest, publish, publish_runtime, ship, unchanged
from compile.quantization.contenders import why_search
from compile.stage.artifacts import Judged, variants_of
from compile.stage.command import run_script
from compile.stage.config import BuildConfig, given_settings, load_config
from compile.stage.console import EscapingConsole
from compile.stage.options import (
    BUDGETS,
    FOLD_MODE,
    MACHINE,
    NETWORK,
    SHIPPED_DATA,
    SHIPPED_MODEL,
    SIZE,
    TARGET,
    WORKERS,
)
from compile.stage.store import in_use
from compile.stage_runs import (
    run_build,
    run_export,
    run_fold,
    run_quantize,
    run_rewrite,
    run_search,
    run_simplify,
    run_stage,
    run_vectors,
    target_settings,
)
from compile.tensorrt_checks.plan_text import require_plan
from report.terminal import tasks_table


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
    with in_use(context.store), context.spread:
        return _run_stages(context)


def _run_stages(context: BuildContext) -> tuple[Path, RegressionReport]:
    built = _compile_and_judge(context)
    manifest = ship(built.draft, judge.read_choice(built.judged), built.judged.sha256)
    folder, start = context.folder, perf_counter()
    if unchanged(folder, manifest):
        context.say(f"bundle: unchanged, {folder}")
    else:
        with context.machine.working():
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
    exported = run_export(context)
    folded = run_fold(context, run_simplify(context, exported))
    simplified = run_rewrite(context, folded)
    quantized, reference = run_quantize(context, simplified), run_vectors(context)
    engine = run_build(context, quantized)
    built = _judge(context, StageArtifacts(exported, folded, simplified, quantized, engine, reference))
    reason = why_search(judge.read_choice(built.judged))
    if not reason or not context.config.search.enabled:
        context.say("  search: switched off" if reason else "  search: not needed, no variant needs repair")
        return built
    context.say(f"  search: {reason}")
    found = run_search(context, simplified, quantized, built.draft)
    if len(variants_of(found)) > len(variants_of(quantized)):
        return _judge(context, built.parts._replace(quantized=found, engine=run_build(context, found)))
    return _judge(context, built.parts._replace(quantized=found))


def _judge(context: BuildContext, parts: StageArtifacts) -> Built:
    config = context.config
    subject = context.subject
    draft = draft_manifest(config, subject, context.calibration, parts, terms_of(context, parts.vectors))
    eager = (lambda: subject.open(config.threads)) if subject.eager else None
    terms = judge.JudgeSettings(draft, config.timing, config.allow_inconclusive, context.spread, eager, context.machine)
    settings = target_settings(context) | {
        "budgets": dict(draft.budgets),
        "agreement": list(draft.agreement),
        "seed": draft.seeds.bootstrap,
        "timing": terms.timing.model_dump(mode="json"),
        "allow_inconclusive": terms.allow_inconclusive,
    }
    judged = run_stage(
        context,
        Judged,
        "judge",
        inputs=(parts.engine.sha256, parts.vectors.sha256, subject.sha256),
        settings=settings,
        make=lambda out: judge.judge(parts.engine, parts.vectors, out, context.target, context.run, terms),
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
    io: Annotated[Io | None, typer.Option(help=f"{IO_HELP} Default: raw.")] = None,
    fold_mode: Annotated[str | None, FOLD_MODE] = None,
    network: Annotated[Path | None, NETWORK] = None,
    size: Annotated[tuple[int, int] | None, SIZE] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Build these only: semseg,depth. Of a network: the path of its tasks.toml.")
    ] = None,
    freeze_gates: Annotated[
        bool | None, typer.Option("--freeze-gates", help="Approximate: freeze the gates that the budgets allow.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="The runtime's device. Default: the target's choice.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads. Default: the runtime's choice.")] = None,
    budgets: Annotated[str | None, BUDGETS] = None,
    search: Annotated[
        bool | None, typer.Option("--search/--no-search", help="Repair INT8 where it breaks a budget. Default: on.")
    ] = None,
    search_limit: Annotated[float | None, typer.Option(help="MACs that may stay in float. Default: 0.1.")] = None,
    allow_inconclusive: Annotated[
        bool | None, typer.Option("--allow-inconclusive", help="Accept undecided verdicts; each is named.")
    ] = None,
    timing_runs: Annotated[int | None, typer.Option(help="Timed rounds. Default: 15.")] = None,
    timing_warmup: Annotated[int | None, typer.Option(help="Untimed rounds before them. Default: 3.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draws and the bootstrap. Default: 0.")] = None,
    out: Annotated[Path | None, typer.Option(help="For bundles and the stage store. Default: ./build.")] = None,
    store: Annotated[str | None, typer.Option(help="The stage store: a folder or a URL. Default: OUT/.store.")] = None,
    machine: Annotated[Path | None, MACHINE] = None,
    workers: Annotated[int | None, WORKERS] = None,
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
    require_plan(folder, read_manifest(folder).variant(report.variant).files)


if __name__ == "__main__":
    run_script(main)
