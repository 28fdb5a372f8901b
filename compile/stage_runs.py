"""The stages through the store: each is taken from it, or made and kept.

Each stage's module is imported where it makes something: a build whose every artifact is in the store imports no such tool.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from bundle.formats.artifacts import ArtifactT, Engine, Exported, Folded, Quantized, Simplified, hash_file
from bundle.formats.image_hash import hash_labelled
from bundle.formats.manifest import Manifest
from bundle.judging.sensitivity import read_sensitivity
from bundle.judging.sentences import search_ended
from calibration.image_files import ImageFiles
from compile.evaluation import vectors
from compile.evaluation.build_context import BuildContext
from compile.evaluation.subject import Subject
from compile.stage.artifacts import ExportedSettings, ReferenceVectors, savings
from compile.stage.command import timed
from compile.stage.config import FreezeOptions, SearchSettings
from compile.stage.graph_info import read_settings
from compile.stage.store import obtain, stage_key
from compile.tensorrt_checks.plan_text import describe as describe_plans
from targets.folding import rates_of
from tdss.card import CARD

if TYPE_CHECKING:
    from compile.networks.open import Opened

CHECK_IMAGES = 2
FROZEN_IMAGES = 32


def run_stage(
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
        with context.machine.working(), timed(name, context.say):
            return make(out)

    key = stage_key(name, inputs=inputs, settings=settings)
    artifact = obtain(context.store, kind, key, make_timed, context.say)
    if not made:
        context.say(f"{name}: unchanged, taken from {key.digest}")
    return artifact


def _check_images(context: BuildContext) -> ImageFiles:
    return context.calibration.first(CHECK_IMAGES)


def run_export(context: BuildContext) -> Exported:
    """Make the graph of the checkpoint, or of the network of another origin."""
    config, images, io, threads = context.config, _check_images(context), context.config.io, context.config.threads
    subject = context.subject
    if subject.network is not None:
        return _import(context, subject, subject.network)

    def make(out: Path) -> Exported:
        from compile.export import export

        return export(config.checkpoint, out, io, images, context.say, threads=threads, size=config.size)

    inputs = (context.subject.sha256, images.sha256)
    exported = run_stage(context, Exported, "export", inputs=inputs, settings={"io": io}, make=make)
    _say_changes(context, exported)
    return exported


def _say_changes(context: BuildContext, exported: Exported) -> None:
    for change in read_settings(ExportedSettings, exported).changes:
        context.say(f"  {change}")


def _import(context: BuildContext, subject: Subject, opened: "Opened") -> Exported:
    config, images = context.config, _check_images(context)
    size = (subject.preprocess.height, subject.preprocess.width)

    def make(out: Path) -> Exported:
        from compile.import_network import import_network

        return import_network(subject.path, opened, out, config.io, images, threads=config.threads)

    inputs = (subject.sha256, images.sha256)
    settings: dict[str, JsonValue] = {"io": config.io, "size": list(size)}
    imported = run_stage(context, Exported, "import", inputs=inputs, settings=settings, make=make)
    _say_changes(context, imported)
    return imported


def hash_card(checkpoint: Path) -> str:
    """Hash the card, whose metrics scale what freezing a gate costs where there are no labels; "" where there is none."""
    return hash_file(checkpoint / CARD) if (checkpoint / CARD).is_file() else ""


def run_simplify(context: BuildContext, exported: Exported) -> Simplified:
    """Simplify the exported graph."""
    images, threads = _check_images(context), context.config.threads

    def make(out: Path) -> Simplified:
        from compile.simplify import simplify

        return simplify(exported, out, images, threads=threads)

    return run_stage(context, Simplified, "simplify", inputs=(exported.sha256, images.sha256), settings={}, make=make)


def run_fold(context: BuildContext, simplified: Simplified) -> Folded:
    """Compose the linear maps of the graph, where that pays."""
    config, images, threads = context.config, _check_images(context), context.config.threads
    rates = rates_of(context.target.name)
    inputs: tuple[str, ...] = (simplified.sha256, images.sha256)
    settings: dict[str, JsonValue] = {
        "mode": config.fold,
        "rates": rates.model_dump(),
        "tasks": list(config.kept_tasks),
    }
    if config.freeze_gates:
        seen = context.calibration.first(FROZEN_IMAGES)
        labels = hash_labelled(context.dataset, tuple(path.stem for path in seen.paths), tuple(context.subject.tasks))
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
            tasks=config.kept_tasks,
            freezing=freezing,
        )

    folded = run_stage(context, Folded, "fold", inputs=inputs, settings=settings, make=make)
    context.say(f"  {savings(folded)}")
    return folded


def run_rewrite(context: BuildContext, folded: Folded) -> Simplified:
    """Rewrite the graph into the form that the target runs fastest."""
    images, threads = _check_images(context), context.config.threads
    names = context.target.rewrites(context.target.capabilities(context.run))

    def make(out: Path) -> Simplified:
        from compile.rewrite import rewrite

        return rewrite(folded, out, names, images, threads=threads)

    inputs = (folded.sha256, images.sha256)
    settings: dict[str, JsonValue] = {"rewrites": list(names)}
    return run_stage(context, Simplified, "rewrite", inputs=inputs, settings=settings, make=make)


def target_settings(context: BuildContext) -> dict[str, JsonValue]:
    """What a target's answer depends on besides the graph: its name, the run settings and what the device can do."""
    able = context.target.capabilities(context.run)
    return {
        "target": context.target.name,
        "run": context.run.model_dump(mode="json"),
        "capabilities": able.model_dump(mode="json"),
    }


def run_quantize(context: BuildContext, simplified: Simplified) -> Quantized:
    """Make the graph of each of the target's variants."""

    def make(out: Path) -> Quantized:
        from compile.quantize import quantize

        return quantize(simplified, context.calibration, out, context.target, context.run, cache=context.store)

    inputs = (simplified.sha256, context.calibration.sha256)
    return run_stage(context, Quantized, "quantize", inputs=inputs, settings=target_settings(context), make=make)


def run_search(context: BuildContext, simplified: Simplified, quantized: Quantized, draft: Manifest) -> Quantized:
    """Add a smoothed or a mixed graph where plain INT8 breaks a budget on the calibration images; never asks those that judge."""
    config = context.config
    terms = SearchSettings(context.dataset, draft.budgets, config.seed, config.search, draft.agreement)
    labels = hash_labelled(context.dataset, context.calibration.ids, context.subject.labelled)
    settings = target_settings(context) | {
        "budgets": dict(draft.budgets),
        "agreement": list(draft.agreement),
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
            spread=context.spread,
            progress=context.say,
        )

    inputs = (quantized.sha256, labels)
    found = run_stage(context, Quantized, "search", inputs=inputs, settings=settings, make=make)
    if report := read_sensitivity(found.folder):
        context.say(f"  search: {search_ended(report)}")
    return found


def run_build(context: BuildContext, quantized: Quantized) -> Engine:
    """Build the engines, or defer them to the device."""

    def make(out: Path) -> Engine:
        from compile.build import build

        return build(quantized, out, context.target, context.run)

    engine = run_stage(
        context, Engine, "build", inputs=(quantized.sha256,), settings=target_settings(context), make=make
    )
    for line in describe_plans(engine.folder):
        context.say(line)
    return engine


def run_vectors(context: BuildContext) -> ReferenceVectors:
    """Run the reference on the evaluation images."""
    config, subject, drawn = context.config, context.subject, context.evaluation
    hard, threads, progress = config.evaluation.hard, config.threads, context.say
    seen = hash_labelled(context.dataset, drawn.ids + drawn.rest, subject.labelled)
    settings: dict[str, JsonValue] = {"ids": list(drawn.ids), "candidates": list(drawn.rest), "hard": hard}
    settings |= {"tasks": list(subject.tasks), "unlabelled": list(subject.unlabelled)}
    return run_stage(
        context,
        ReferenceVectors,
        "vectors",
        inputs=(subject.sha256, seen),
        settings=settings,
        make=lambda out: vectors.record_vectors(
            subject.open,
            context.dataset,
            drawn,
            out,
            unlabelled=subject.unlabelled,
            hard=hard,
            threads=threads,
            progress=progress,
        ),
    )
