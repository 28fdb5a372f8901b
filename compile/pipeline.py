"""The road end to end: a checkpoint to a judged bundle, stage by stage through the store.

fold → export → simplify → rewrite → quantize → search → build ┐
                                          vectors ───┴→ judge → the bundle
"""

if not __package__:
    import _path  # noqa: F401

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import typer
from pydantic import JsonValue

from bundle.artifacts import ArtifactT, Engine, Exported, Folded, Quantized, Simplified, hash_file
from bundle.checks import require_agreement, require_passed
from bundle.choice import Bench, Choice
from bundle.dataset import SPEC_FILE, FolderDataset, load_spec
from bundle.manifest import Io
from bundle.outcome import RegressionReport, read_report
from bundle.preprocess import Preprocess
from bundle.signature import sign
from bundle.strict_json import dumps
from bundle.terminal import print_answer, say
from bundle.timing import busy
from calibration.sampling import CalibrationSet, from_split
from compile import build, export, fold, judge, legality, quantize, rewrite, search, simplify, vectors
from compile.assemble import Parts, draft_manifest, publish, ship, unchanged
from compile.config import BuildConfig, FoldMode, FoldOptions, load_config
from compile.console import EscapingConsole
from compile.images import ImageFiles
from compile.preflight import budgets_of, require_evaluation, require_packages, require_places
from compile.reference_arrays import checkpoint_digest
from compile.script import run_script
from compile.store import in_use, obtain, stage_key
from compile.stored import Judged, ReferenceVectors
from report import wording
from report.tables import tasks_table
from targets.base import RunConfig, Target
from targets.table import target as find_target

if TYPE_CHECKING:
    from tdss.config import ModelConfig

Say: TypeAlias = Callable[[str], None]
STORE = ".store"
CALIBRATIONS = "calibrations"
CHECK_IMAGES = 2
ANALYSED_IMAGES = 8
FROZEN_IMAGES = 32


class Road(NamedTuple):
    """What every stage of one build shares; ``checkpoint_sha256`` covers its configuration and its weights."""

    config: BuildConfig
    model: "ModelConfig"
    checkpoint_sha256: str
    target: Target
    run: RunConfig
    dataset: FolderDataset
    calibration: CalibrationSet
    evaluation: vectors.Drawn
    budgets: dict[str, float]
    folder: Path  # where the bundle is published
    say: Say


def build_bundle(config: BuildConfig, progress: Say) -> Path:
    """Compile a checkpoint into the bundle ``<out>/<model>/<target>/``, judge it, and return its folder.

    ``progress`` gets a line for each stage. A bundle that is not within its budgets is written too: ``build_and_judge``
    says which it is.

    Raises:
        InputError: the configuration, the checkpoint or the data cannot be used.
        TargetUnavailable: a runtime or device is missing.
    """
    folder, _ = build_and_judge(config, progress)
    return folder


def build_and_judge(config: BuildConfig, progress: Say) -> tuple[Path, RegressionReport]:
    """Build as ``build_bundle`` does, and return with the folder how this build was judged.

    The folder's own regression.json may be another's: whoever judges the bundle later, on other terms, writes there.
    """
    road = open_road(config, progress)
    with in_use(config.out / STORE):
        return _run_stages(road)


def _run_stages(road: Road) -> tuple[Path, RegressionReport]:
    config, progress, folder = road.config, road.say, road.folder
    folded = _fold(road)
    exported = _export(road, folded)
    simplified = _rewrite(road, _simplify(road, exported))
    quantized = _search(road, simplified, _quantize(road, simplified))
    engine = _build(road, quantized)
    parts = Parts(folded, exported, simplified, quantized, engine, _vectors(road))
    draft = draft_manifest(
        config, road.model, road.dataset, road.calibration, road.checkpoint_sha256, parts, road.budgets
    )
    judged = _judge(road, parts, judge.Terms(draft, config.timing, config.allow_inconclusive))
    choice = judge.read_choice(judged)
    manifest = ship(draft, choice, judged.sha256)
    start = perf_counter()
    if unchanged(folder, manifest):
        progress(f"bundle: unchanged, {folder}")
    else:
        publish(folder, manifest, parts, judged, road.run)
        progress(f"bundle: {folder} ({perf_counter() - start:.1f} s)")
    if config.sign is not None:
        progress(f"bundle: signed, {sign(folder, config.sign).name}")
    for line in describe(choice, judge.read_bench(judged)):
        progress(line)
    return folder, read_report(judged.folder)


def open_road(config: BuildConfig, progress: Say) -> Road:
    """Read and check what a build needs before any stage runs.

    Raises:
        ConfigError: the target, a task, a budget or the checkpoint's configuration is wrong.
        DatasetError: the data cannot be used, or is of other classes than the model.
        InputError: the bundle or the store cannot be written where it belongs, or the key cannot sign.
        TargetUnavailable: the target's runtime or device, or a package, is not here.
    """
    from tdss.checkpoint import CONFIG, read_config
    from tdss.config import keep_tasks

    target, run = find_target(config.target), RunConfig(device=config.device, threads=config.threads)
    target.capabilities(run)
    require_packages()
    whole = read_config(config.checkpoint / CONFIG)
    model = keep_tasks(whole, config.tasks or tuple(whole.tasks))
    folder = require_places(config, model.name)
    budgets = budgets_of(config, whole.tasks, model.tasks, progress)
    dataset = FolderDataset(root=config.data, spec=load_spec(config.dataset or config.data / SPEC_FILE))
    dataset.require_channels(model.tasks)
    preprocess = Preprocess(**model.image.model_dump())
    drawn = from_split(
        config.data, config.calibration.split, config.calibration.count, seed=config.seed, preprocess=preprocess
    )
    for finding in drawn.findings:
        progress(f"calibration: {finding}")
    evaluation = vectors.choose_evaluation(dataset, config.evaluation, seed=config.seed, tasks=tuple(model.tasks))
    require_evaluation(dataset, evaluation.ids + evaluation.rest, model.tasks, preprocess)
    if len(evaluation.ids) < config.evaluation.count:
        progress(f"evaluation: only {len(evaluation.ids)} images of the {config.evaluation.count} asked for")
    digest = checkpoint_digest(config.checkpoint)
    return Road(config, model, digest, target, run, dataset, drawn, evaluation, budgets, folder, progress)


def _stage(
    road: Road, kind: type[ArtifactT], name: str, *, inputs: tuple[str, ...], settings: dict[str, JsonValue],
    tools: tuple[str, ...], make: Callable[[Path], ArtifactT],
) -> ArtifactT:  # fmt: skip
    """Take a stage's artifact from the store or make it, and say which and how long it took."""
    start = perf_counter()
    notes: list[str] = []
    key = stage_key(name, inputs=inputs, settings=settings, tools=tools)
    artifact = obtain(road.config.out / STORE, kind, key, make, notes.append)
    road.say("; ".join(notes) or f"{name}: done in {perf_counter() - start:.1f} s")
    return artifact


def _check_images(road: Road) -> ImageFiles:
    return ImageFiles(paths=road.calibration.paths[:CHECK_IMAGES])


def _fold(road: Road) -> Folded:
    config, images = road.config, _check_images(road)
    seen = ImageFiles(paths=road.calibration.paths[: FROZEN_IMAGES if config.freeze_gates else ANALYSED_IMAGES])
    options = FoldOptions(mode=config.fold, tasks=config.tasks)
    inputs: tuple[str, ...] = (road.checkpoint_sha256, images.sha256, seen.sha256)
    if config.freeze_gates:
        frozen = {"freeze_gates": True, "budgets": dict(road.budgets), "labels": road.dataset}
        options = options.model_copy(update=frozen)
        ids = tuple(path.stem for path in seen.paths)
        inputs = (
            *inputs,
            vectors.hash_evaluation(road.dataset, ids, tuple(road.model.tasks)),
            hash_card(config.checkpoint),
        )
    folded = _stage(
        road, Folded, "fold", inputs=inputs, settings=options.model_dump(mode="json", exclude={"labels"}),
        tools=fold.TOOLS,
        make=lambda out: fold.fold(config.checkpoint, out, images, options, seen, road.say),
    )  # fmt: skip
    road.say(f"  {fold.savings(folded)}")
    return folded


def hash_card(checkpoint: Path) -> str:
    """Hash the card, whose metrics scale what freezing a gate costs where there are no labels; "" where there is none."""
    from tdss.checkpoint import CARD

    return hash_file(checkpoint / CARD) if (checkpoint / CARD).is_file() else ""


def _export(road: Road, folded: Folded) -> Exported:
    images, io, threads = _check_images(road), road.config.io, road.config.threads
    return _stage(
        road, Exported, "export", inputs=(folded.sha256, images.sha256), settings={"io": io}, tools=export.TOOLS,
        make=lambda out: export.export(folded, out, io, images, threads=threads),
    )  # fmt: skip


def _simplify(road: Road, exported: Exported) -> Simplified:
    images, threads = _check_images(road), road.config.threads
    return _stage(
        road, Simplified, "simplify", inputs=(exported.sha256, images.sha256), settings={}, tools=simplify.TOOLS,
        make=lambda out: simplify.simplify(exported, out, images, threads=threads),
    )  # fmt: skip


def _rewrite(road: Road, simplified: Simplified) -> Simplified:
    images, threads = _check_images(road), road.config.threads
    names = road.target.rewrites(road.target.capabilities(road.run))
    return _stage(
        road, Simplified, "rewrite", inputs=(simplified.sha256, images.sha256), settings={"rewrites": list(names)},
        tools=rewrite.TOOLS, make=lambda out: rewrite.rewrite(simplified, out, names, images, threads=threads),
    )  # fmt: skip


def _target_settings(road: Road) -> dict[str, JsonValue]:
    """What a target's answer depends on besides the graph: its name, the run settings and what the device can do."""
    able = road.target.capabilities(road.run)
    return {
        "target": road.target.name, "run": road.run.model_dump(mode="json"), "capabilities": able.model_dump(mode="json"),
    }  # fmt: skip


def _quantize(road: Road, simplified: Simplified) -> Quantized:
    return _stage(
        road, Quantized, "quantize", inputs=(simplified.sha256, road.calibration.sha256),
        settings=_target_settings(road), tools=quantize.TOOLS,
        make=lambda out: quantize.quantize(
            simplified, road.calibration, out, road.target, road.run, cache=_calibrations(road)
        ),
    )  # fmt: skip


def _calibrations(road: Road) -> Path:
    return road.config.out / STORE / CALIBRATIONS


def _search(road: Road, simplified: Simplified, quantized: Quantized) -> Quantized:
    """Add a smoothed or a mixed graph where plain INT8 breaks a budget on the calibration images; never asks those that judge."""
    config, terms = road.config, search.Terms(road.dataset, road.budgets, road.config.seed, road.config.search)
    labels = vectors.hash_evaluation(road.dataset, road.calibration.ids, tuple(road.model.tasks))
    settings = _target_settings(road) | {
        "budgets": dict(road.budgets), "seed": config.seed, "search": config.search.model_dump(mode="json"),
    }  # fmt: skip
    found = _stage(
        road, Quantized, "search", inputs=(quantized.sha256, labels), settings=settings, tools=search.TOOLS,
        make=lambda out: search.search(
            quantized, simplified, road.calibration, out, road.target, road.run, terms, cache=_calibrations(road),
            progress=road.say,
        ),
    )  # fmt: skip
    road.say(f"  search: {found.record.settings['search']}")
    return found


def _build(road: Road, quantized: Quantized) -> Engine:
    engine = _stage(
        road, Engine, "build", inputs=(quantized.sha256,), settings=_target_settings(road), tools=build.TOOLS,
        make=lambda out: build.build(quantized, out, road.target, road.run),
    )  # fmt: skip
    for line in legality.describe(engine.folder):
        road.say(line)
    return engine


def _vectors(road: Road) -> ReferenceVectors:
    config, tasks, drawn = road.config, tuple(road.model.tasks), road.evaluation
    seen = vectors.hash_evaluation(road.dataset, drawn.ids + drawn.rest, tasks)
    return _stage(
        road, ReferenceVectors, "vectors", inputs=(road.checkpoint_sha256, seen), settings={"ids": list(drawn.ids), "candidates": list(drawn.rest), "hard": config.evaluation.hard},
        tools=vectors.TOOLS,
        make=lambda out: vectors.record_vectors(
            config.checkpoint, road.dataset, drawn, out, tasks=tasks, hard=config.evaluation.hard,
            threads=config.threads,
        ),
    )  # fmt: skip


def _judge(road: Road, parts: Parts, terms: judge.Terms) -> Judged:
    settings = _target_settings(road) | {
        "budgets": dict(terms.draft.budgets), "seed": terms.draft.seeds.bootstrap,
        "timing": terms.timing.model_dump(mode="json"), "allow_inconclusive": terms.allow_inconclusive,
    }  # fmt: skip
    return _stage(
        road, Judged, "judge", inputs=(parts.engine.sha256, parts.vectors.sha256, road.checkpoint_sha256),
        settings=settings, tools=judge.TOOLS,
        make=lambda out: judge.judge(
            parts.engine, parts.vectors, road.config.checkpoint, out, road.target, road.run, terms
        ),
    )  # fmt: skip


def describe(choice: Choice, bench: Bench) -> list[str]:
    """Say in a line for each variant how fast it is, whether it is within its budgets, and why it is shipped or not."""
    lines = []
    for one in choice.candidates:
        latency = "   no timing" if one.latency_ms is None else f"{one.latency_ms:8.2f} ms"
        lines.append(f"  {one.name:12} {latency}  {one.reason}")
    if bench.eager_ms is not None:
        lines.append(f"  {wording.eager(bench.eager_ms)}")
    if bench.disturbed:
        lines.append(f"warning: {busy(bench.disturbed)}")
    return [*lines, f"shipped: {choice.shipped}, {choice.reason}"]


def main(
    target: Annotated[str | None, typer.Option(help="The device to compile for: intel or jetson.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="The checkpoint's folder. Default: models/default.")] = None,
    data: Annotated[Path | None, typer.Option(help="A labelled folder. Default: data/scenes.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="The data's spec. Default: dataset.json in the data.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with these settings; options go over it.")] = None,
    calibration_split: Annotated[str | None, typer.Option(help="Whose images calibrate. Default: calibration.")] = None,
    calibration_count: Annotated[int | None, typer.Option(help="How many. Default: 64.")] = None,
    evaluation_split: Annotated[str | None, typer.Option(help="Whose images judge. Default: val.")] = None,
    evaluation_count: Annotated[int | None, typer.Option(help="How many. Default: 100.")] = None,
    io: Annotated[Io | None, typer.Option(help="raw: tensors. edge: camera frames in, maps out. Default: raw.")] = None,
    fold_mode: Annotated[
        FoldMode | None, typer.Option("--fold", help="all exact folds, those that pay (cost), or none. Default: all.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Build these only: semseg,depth. Default: every task.")] = None,
    freeze_gates: Annotated[
        bool | None, typer.Option("--freeze-gates", help="Approximate: freeze the gates that the budgets allow.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="The runtime's device. Default: the target's choice.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads. Default: the runtime's choice.")] = None,
    budgets: Annotated[str | None, typer.Option(help="default (1 % drop) or strict (0.1 %). Default: default.")] = None,
    allow_inconclusive: Annotated[
        bool | None, typer.Option("--allow-inconclusive", help="Accept undecided verdicts; each is named.")
    ] = None,
    timing_runs: Annotated[int | None, typer.Option(help="Timed rounds. Default: 15.")] = None,
    timing_warmup: Annotated[int | None, typer.Option(help="Untimed rounds before them. Default: 3.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draws and the bootstrap. Default: 0.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where bundles and the stage store lie. Default: build.")] = None,
    sign_with: Annotated[Path | None, typer.Option("--sign", help="Sign the bundle with this private key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the bundle's folder and regression.json.")] = False,
) -> None:
    """Compile a checkpoint for a target: every stage, the bundle, the regression table.

    Example: tdss pipeline --target intel --checkpoint models/default --data data/scenes
    """
    given: dict[str, JsonValue | Path | None] = {
        "target": target, "checkpoint": checkpoint, "data": data, "dataset": dataset, "io": io, "fold": fold_mode, "device": device,
        "tasks": None if tasks is None else list(tasks.split(",")) if tasks else [], "freeze_gates": freeze_gates,
        "calibration.split": calibration_split, "calibration.count": calibration_count,
        "evaluation.split": evaluation_split, "evaluation.count": evaluation_count, "threads": threads,
        "timing.runs": timing_runs, "timing.warmup": timing_warmup, "budgets": budgets,
        "allow_inconclusive": allow_inconclusive, "seed": seed, "out": out, "sign": sign_with,
    }  # fmt: skip
    folder, report = build_and_judge(load_config(config, {k: v for k, v in given.items() if v is not None}), say)
    if as_json:
        told = report.model_dump(mode="json", by_alias=True, exclude={"arrays"})
        print_answer(dumps({"bundle": str(folder), "regression": told}))
    else:
        EscapingConsole().print(tasks_table(report))
    _require(folder, report)


def _require(folder: Path, report: RegressionReport) -> None:
    """End the command with what is not as it must be: a task, the answers' agreement, a plan; say what costs a task most."""
    beyond = [name for name, result in report.tasks.items() if result.verdict != "pass"]
    for line in search.describe_costs(folder / search.SENSITIVITY, beyond):
        say(line)
    require_passed(report)
    require_agreement(report)
    legality.require_plan(folder)


if __name__ == "__main__":
    run_script(main)
