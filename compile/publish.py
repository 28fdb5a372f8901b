"""Assemble: the stages' artifacts become one bundle folder, written whole or not at all."""

import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from bundle.base.errors import ArtifactError, InputError
from bundle.formats.artifacts import Engine, Exported, Folded, Quantized, Simplified
from bundle.formats.contents import ENGINES, RESULTS, VECTORS
from bundle.formats.fold import FOLD
from bundle.formats.manifest import SINCE_4, Manifest, Reference, Seeds, load_bundle, verify_bundle, write_manifest
from bundle.formats.manifest import Engine as EngineEntry
from bundle.formats.outputs import bundle_of, replacing
from bundle.formats.results import write_result
from bundle.judging.choice import BENCH, CHOICE, Choice
from bundle.judging.regression_report import RESULT, read_report
from bundle.judging.sensitivity import SENSITIVITY
from bundle.judging.standing import standing
from bundle.judging.verdict import accepted
from calibration.sampling import CalibrationSet
from compile.evaluation.judge import read_bench, read_choice
from compile.evaluation.subject import Subject
from compile.evaluation.terms import Terms
from compile.quantization.contenders import REPAIRS
from compile.stage.artifacts import (
    EngineSettings,
    FoldedSettings,
    Judged,
    QuantizedSettings,
    ReferenceVectors,
    SimplifiedSettings,
    VariantNote,
    variants_of,
)
from compile.stage.config import BuildConfig
from compile.stage.graph_info import graph_info, read_settings
from compile.stage.store import locked
from device_runtime.write import RUNTIME, write_runtime
from report.bundle_page.origin import now_here
from report.bundle_page.page import render
from targets.base import DeferredEngine, RunConfig
from targets.open import as_bundle_variant, open_session
from targets.table import target as find_target


class StageArtifacts(NamedTuple):
    """The artifacts a bundle is put together from, in the order of the stages."""

    exported: Exported
    folded: Folded
    simplified: Simplified  # what the target's rewrites left of the folded graph
    quantized: Quantized
    engine: Engine
    vectors: ReferenceVectors

    @property
    def sources(self) -> dict[str, Path]:
        """Where each file that the manifest lists comes from, by its name in the bundle."""
        graphs = {name: self.engine.file(name) for name in self._graphs}
        measured = {name: self.quantized.file(name) for name in self._measured}
        return {**graphs, **measured, VECTORS: self.vectors.file(VECTORS), FOLD: self.folded.file(FOLD)}

    @property
    def hashes(self) -> dict[str, str]:
        """The sha256 of each of those files, as the stages recorded them."""
        others = {VECTORS: self.vectors.record.files[VECTORS], FOLD: self.folded.record.files[FOLD]}
        return dict(sorted({**self._graphs, **self._measured, **others}.items()))

    @property
    def engines(self) -> dict[str, Path]:
        """Engines that were built where the bundle is, by their names in it; no manifest lists them (bundle/formats/engines.py)."""
        return {name: self.engine.file(name) for name in self.engine.record.files if name not in self._graphs}

    @property
    def _graphs(self) -> dict[str, str]:
        """What the build stage made, with its sha256, but for what belongs to one device."""
        return {name: digest for name, digest in self.engine.record.files.items() if not name.startswith(f"{ENGINES}/")}

    @property
    def _measured(self) -> dict[str, str]:
        """What a search that found no graph measured, with its sha256: the engine was built before it."""
        return {name: digest for name, digest in self.quantized.record.files.items() if name == SENSITIVITY}

    @property
    def tools(self) -> dict[str, str]:
        """The versions of the tools that all stages called."""
        return dict(sorted({name: version for part in self for name, version in part.record.tools.items()}.items()))


def draft_manifest(
    config: BuildConfig, subject: Subject, calibration: CalibrationSet, parts: StageArtifacts, terms: Terms
) -> Manifest:
    """Return the manifest of the bundle these parts make; which variant is shipped is still open."""
    info, status, variants = (
        graph_info(parts.quantized),
        read_settings(EngineSettings, parts.engine).status,
        variants_of(parts.engine),
    )
    inputs, outputs = info.interface
    reason = status.reason if isinstance(status, DeferredEngine) else ""
    return Manifest(
        schema_version=4 if info.io in SINCE_4 else 3,
        name=subject.name,
        target=config.target,
        io=info.io,
        tasks=info.tasks,
        dataset=subject.spec,
        preprocess=info.preprocess,
        inputs=inputs,
        outputs=outputs,
        variants=tuple(as_bundle_variant(variant) for variant in variants),
        shipped=variants[0].recipe.name,
        engine=EngineEntry(status=status.status, reason=reason),
        reference=Reference(checkpoint_sha256=subject.sha256, framework=subject.framework),
        budgets=terms.budgets,
        agreement=terms.agreement,
        seeds=Seeds(sampling=config.seed, bootstrap=config.seed),
        tools=parts.tools,
        settings=_settings(config, calibration, parts),
        parents={part.kind: part.sha256 for part in parts},
        files=parts.hashes,
        results=RESULTS,
    )


def _settings(config: BuildConfig, calibration: CalibrationSet, parts: StageArtifacts) -> dict[str, JsonValue]:
    simplified, fold = (
        read_settings(SimplifiedSettings, parts.simplified),
        read_settings(FoldedSettings, parts.folded).fold,
    )
    notes = read_settings(QuantizedSettings, parts.quantized).notes
    return {
        "calibration": {
            "split": config.calibration.split,
            "images": len(calibration.ids),
            "sha256": calibration.sha256,
            "findings": list(calibration.findings),
        },
        "evaluation": config.evaluation.model_dump(mode="json") | {"chosen": parts.vectors.record.settings},
        "allow_inconclusive": config.allow_inconclusive,
        "timing": config.timing.model_dump(mode="json"),
        "fold": fold.model_dump(mode="json"),
        "simplify": simplified.preparation.model_dump(mode="json"),
        "rewrites": dict(simplified.rewrites),
        "quantize": written(notes),
        "engine": read_settings(EngineSettings, parts.engine).status.model_dump(mode="json"),
    }


def written(notes: Mapping[str, VariantNote]) -> dict[str, JsonValue]:
    """Return the notes about variants as a file holds them: NaN, the range of a tensor with infinite elements, is null."""
    return {name: json.loads(note.model_dump_json()) for name, note in notes.items()}


def ship(draft: Manifest, choice: Choice, judged: str) -> Manifest:
    """Return the manifest with the chosen variant, the choice, and without what no device could choose.

    ``judged`` is the hash of the artifact that says how every variant fared, so that another judgement is another bundle.

    A bundle goes without what is judged only. No device could choose a smoothed or mixed graph whose plain one is within its budgets.
    Where the engine was built and judged here, no device could choose a variant that is not accepted either: one that
    is beyond its budgets, or undecided where that is not allowed.
    """
    passing = accepted(allow_inconclusive=bool(draft.settings.get("allow_inconclusive")))
    beyond = {candidate.name for candidate in choice.candidates if not set(candidate.verdicts.values()) <= set(passing)}
    fine = {one.name for one in choice.candidates if one.verdicts and standing(one.verdicts) == "within"}
    spare = {mixed for mixed, plain in REPAIRS.items() if plain in fine}
    out = (
        set(find_target(draft.target).profile.judged_only)
        | spare
        | (beyond if draft.engine.status == "built" else set())
    )
    out -= {choice.shipped}
    kept = tuple(variant for variant in draft.variants if variant.name not in out)
    needed = {name for variant in kept for name in variant.files}
    dropped = {name for variant in draft.variants if variant.name in out for name in variant.files} - needed
    changes = {
        "shipped": choice.shipped,
        "settings": draft.settings | {"choice": choice.model_dump(mode="json")},
        "parents": draft.parents | {Judged.kind: judged},
        "variants": [variant.model_dump() for variant in kept],
        "files": {name: digest for name, digest in draft.files.items() if name not in dropped},
    }
    return Manifest.model_validate(draft.model_dump() | changes)


def unchanged(folder: Path, manifest: Manifest) -> bool:
    """Say whether the bundle in ``folder`` is the one ``manifest`` describes, whole, with its results."""
    try:
        there = verify_bundle(folder).manifest
    except ArtifactError:
        return False
    return there == manifest


def publish(folder: Path, manifest: Manifest, parts: StageArtifacts, judged: Judged, run: RunConfig) -> None:
    """Write the bundle as ``folder``: its files, the manifest, the results, and the page drawn from them.

    Raises:
        InputError: something is there that is no bundle of this model and target.
    """
    rule = bundle_of(manifest.name, manifest.target)
    with locked(folder.parent, rule), replacing(folder, rule) as temporary:
        for name in manifest.files:
            shutil.copyfile(parts.sources[name], temporary / name)
        for name, engine in parts.engines.items():
            (temporary / ENGINES).mkdir(exist_ok=True)
            shutil.copyfile(engine, temporary / name)
        digest = write_manifest(temporary, manifest)
        results = {RESULT: read_report(judged.folder), BENCH: read_bench(judged), CHOICE: read_choice(judged)}
        for name, value in results.items():
            write_result(temporary, name, value, digest)
        bundle = load_bundle(temporary)
        session, _ = open_session(bundle, execute="auto", variant="", run=run)
        with session:
            render(bundle, session.infer, built=now_here())


def publish_runtime(folder: Path, manifest: Manifest) -> list[str]:
    """Write the device runtime beside a bundle whose engines the device builds, and say what to carry there."""
    if manifest.engine.status == "built":
        return []
    runtime = folder.parent / RUNTIME
    try:
        write_runtime(runtime)
    except InputError as error:
        return [f"no device runtime was written: {error.message}: {error.got}"]
    return [f"for the device: {runtime}, and the archive of 'tdss bundle pack {shlex.quote(str(folder))}'"]
