"""One judgement from its options to its report: what ``pytest tests/regression`` and ``tdss regress`` have in common.

It opens the images, continues where a killed run stopped, compares with an earlier run, writes the report, and only
then removes the journal. ``measure_bundle`` leaves writing and the journal to a caller who judges several variants.
What opens the session is not known here.
"""

from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from bundle.base.errors import ArtifactError, InputError
from bundle.base.frozen import Frozen
from bundle.formats.hash_files import SUFFIX, hash_line
from bundle.formats.image_hash import hash_labelled
from bundle.formats.manifest import Bundle
from bundle.formats.outputs import json_object, marked, overwrite, require_file
from bundle.formats.results import read_tied
from bundle.judging.choice import pick
from bundle.judging.evaluate_image import Infer
from bundle.judging.image_sources import Source, labelled
from bundle.judging.regression_report import (
    RESULT,
    Execution,
    RegressionReport,
    open_report,
    parse_report,
    variant_tasks,
)
from bundle.judging.resume import Journal, run_key
from bundle.judging.run import Progress, run
from bundle.judging.sentences import why_picked
from bundle.judging.verdict import RESAMPLES, Gate
from bundle.tasks.dataset import FolderDataset

TIME_LIMIT_S = 300.0
REPORTS = json_object("model", "target", "executed_on", "tasks", "passed")  # what a report may be written over
VOLATILE = frozenset({"LOADED_FROM_CACHE"})  # facts of how a session was opened, not of what it computes


class Options(Frozen):
    """How to judge. ``data`` replaces the bundle's images by a split of a labelled folder (``reference``: its arrays).

    ``baseline`` is an earlier regression.json; ``time_limit_s`` bounds one image's inference, 0 does not.
    """

    allow_inconclusive: bool = False
    gate: Gate = "one-sided"
    data: Path | None = None
    split: str = "val"
    reference: Path | None = None
    baseline: Path | None = None
    time_limit_s: float = Field(default=TIME_LIMIT_S, ge=0)
    resamples: int = Field(default=RESAMPLES, gt=0)


class Judged(Frozen):
    """A report, where it was written (None: nowhere), and how many images a killed run had measured before."""

    report: RegressionReport
    path: Path | None
    resumed: int


class Measured(NamedTuple):
    """A report that is written nowhere yet, and the journal it was made from: remove it once the result is written."""

    report: RegressionReport
    journal: Journal


def measure_bundle(
    bundle: Bundle,
    infer: Infer,
    execution: Execution,
    options: Options,
    *,
    variant: str = "",
    progress: Progress | None = None,
) -> Measured:
    """Judge an opened session that runs ``variant`` ("": see ``bundle.judging.choice.pick``); write nothing but the journal.

    Raises:
        ProjectError: see ``bundle.judging.run.run`` and bundle/judging/image_sources.py.
    """
    picked = pick(bundle, variant)
    baseline = None if options.baseline is None else open_report(options.baseline)
    if options.reference is not None and options.data is None:
        raise InputError(
            "a reference without its images",
            expected="--data beside --reference",
            got="--reference alone",
            where="the command line",
            fix="name the labelled folder that the reference's arrays are of",
        )
    source = None if options.data is None else labelled(bundle.manifest, options.data, options.split, options.reference)
    journal = Journal(bundle.folder, _key(bundle, execution, options, picked.variant, source))
    report = run(
        bundle,
        infer,
        execution,
        allow_inconclusive=options.allow_inconclusive,
        resamples=options.resamples,
        gate=options.gate,
        source=source,
        journal=journal,
        limit_s=options.time_limit_s,
        baseline=baseline,
        progress=progress,
    )
    named = {"variant": picked.variant, "chosen_by": picked.by, "chosen": why_picked(picked), "bundle": bundle.sha256}
    return Measured(report.model_copy(update=named), journal)


def judge_bundle(
    bundle: Bundle,
    infer: Infer,
    execution: Execution,
    options: Options,
    *,
    variant: str = "",
    out: Path | None = None,
    progress: Progress | None = None,
) -> Judged:
    """Judge an opened session that runs ``variant`` ("": see ``bundle.judging.choice.pick``), and write its report.

    ``out`` is the file to write. Without it only the judgement of the variant that ``pick`` names, on the bundle's
    own images, is written: into the bundle. The rows of the other variants stay in it.

    Raises:
        InputError: something else than such a report is at ``out``, or ``out`` is an input or inside one.
        ProjectError: see ``bundle.judging.run.run`` and bundle/judging/image_sources.py.
    """
    if out is not None:
        require_file(out, REPORTS, inputs_of(bundle.folder, options))
    own = out is None and options.data is None and pick(bundle, variant).variant == pick(bundle, "").variant
    earlier = _earlier(bundle) if own else None
    report, journal = measure_bundle(bundle, infer, execution, options, variant=variant, progress=progress)
    report = _with_rows(earlier, report)
    path = _write(bundle, report, out) if out is not None else bundle.write(RESULT, report) if own else None
    journal.remove()
    return Judged(report=report, path=path, resumed=len(journal.seen))


def inputs_of(folder: Path, options: Options) -> list[Path]:
    """Return what a judgement of the bundle in ``folder`` reads, and so must not write over."""
    return [folder, *(path for path in (options.data, options.reference, options.baseline) if path is not None)]


def _key(bundle: Bundle, execution: Execution, options: Options, variant: str, source: Source | None) -> str:
    """Name everything that decides what an image shows: the bundle, what runs, and the images."""
    kept = {name: value for name, value in execution.facts.items() if name not in VOLATILE}
    facts = execution.model_copy(update={"facts": kept}).model_dump(mode="json")
    images = ""
    if source is not None and options.data is not None:
        data = FolderDataset(root=options.data, spec=bundle.manifest.dataset)
        images = hash_labelled(data, source.ids, bundle.manifest.tasks)
    return run_key(bundle=bundle.sha256, variant=variant, session=facts, images=images)


def _earlier(bundle: Bundle) -> RegressionReport | None:
    """Return the result that is about to be written over; None where there is none, or it is not of this version."""
    try:
        return parse_report(read_tied(bundle.folder, RESULT, bundle.sha256), bundle.folder)
    except ArtifactError:
        return None


def _with_rows(earlier: RegressionReport | None, report: RegressionReport) -> RegressionReport:
    """Keep the variants' rows of the result that is written over, if the same device made it; the judged one's is new."""
    if earlier is None or (earlier.device, earlier.executed_on) != (report.device, report.executed_on):
        return report
    new = {"tasks": variant_tasks(report), "passed": report.passed}
    rows = tuple(row.model_copy(update=new) if row.name == report.variant else row for row in earlier.variants)
    return report.model_copy(update={"variants": rows})


def _write(bundle: Bundle, report: RegressionReport, out: Path) -> Path:
    text = report.text()
    overwrite(out, text, REPORTS)
    overwrite(
        out.with_name(f"{out.name}{SUFFIX}"), hash_line(out.name, text.encode()), marked(f"  {out.name}\n".encode())
    )
    return out
