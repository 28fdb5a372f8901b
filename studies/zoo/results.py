"""What the commands of a row left: the files of its bundles, read and checked. No figure of the table comes from elsewhere."""

from pathlib import Path
from typing import NamedTuple

from bundle.base.errors import ArtifactError, ProjectError
from bundle.formats.artifacts import Folded, load
from bundle.formats.fold import FoldPart, read_fold_settings
from bundle.formats.manifest import Manifest, load_bundle
from bundle.formats.tensorrt_checks import GraphProof, LintReports, Proof, read_lint, read_proof
from bundle.judging.checks import answers
from bundle.judging.choice import Bench, read_bench
from bundle.judging.regression_report import RegressionReport, read_report
from compile.stage.artifacts import folding_of, total
from studies.zoo.jobs import TARGETS, Job, Terms, bundle_job, growth_job
from studies.zoo.rows import Row
from tdss.card import Card, load_card
from tdss.config_file import WEIGHTS


class Made(NamedTuple):
    """A bundle: its files, how many bytes they have, and how many seconds it took."""

    folder: Path
    bytes: int
    seconds: float
    manifest: Manifest
    report: RegressionReport
    bench: Bench | None
    lint: LintReports | None
    proof: Proof | None

    @property
    def folding(self) -> FoldPart:
        """What the graph costs before and after folding."""
        settings = read_fold_settings(self.manifest)
        return total(() if settings is None else settings.parts)

    @property
    def plan(self) -> GraphProof | None:
        """What NVIDIA's builder made of the graph that ships."""
        name = self.manifest.variant(self.manifest.shipped).files[0]
        return next((one for one in (self.proof.graphs if self.proof else ()) if one.graph == name), None)

    @property
    def failed(self) -> tuple[str, ...]:
        """The checks that failed: of verdicts, of answers, of plans."""
        checks = answers(self.report, allow_inconclusive=False)
        gates = () if self.proof is None else self.proof.failed
        return (*(check.text for check in checks if not check.passed), *(f"{gate.says}: {gate.got}" for gate in gates))


class Result(NamedTuple):
    """A row as far as it was run: its bundles by target and the multiply-accumulates without its last task, or why not."""

    row: Row
    card: Card | None
    checkpoint_bytes: int
    bundles: dict[str, Made | str]
    fewer_macs: int | str

    @property
    def green(self) -> bool:
        """Whether every command of the row left what passes every check."""
        made = [one for one in self.bundles.values() if isinstance(one, Made)]
        return (
            len(made) == len(self.bundles) and isinstance(self.fewer_macs, int) and not any(one.failed for one in made)
        )


def read_row(row: Row, terms: Terms) -> Result:
    """Read what the commands of a row left."""
    weights = row.folder / WEIGHTS
    return Result(
        row,
        load_card(row.folder),
        weights.stat().st_size if weights.is_file() else 0,
        {target: _read_bundle(bundle_job(row, target, terms)) for target in TARGETS},
        _read_macs(growth_job(row, terms, row.folder)),
    )


def _read_bundle(job: Job) -> Made | str:
    """Read a bundle, every file checked; or say why there is none."""
    if job.missing:
        return job.missing
    try:
        opened = load_bundle(job.folder)
        return Made(
            folder=job.folder,
            bytes=sum(path.stat().st_size for path in job.folder.rglob("*") if path.is_file()),
            seconds=job.seconds,
            manifest=opened.manifest,
            report=read_report(job.folder),
            bench=read_bench(job.folder),
            lint=read_lint(job.folder),
            proof=read_proof(job.folder),
        )
    except ArtifactError as error:
        return _unread(error)


def _read_macs(job: Job) -> int | str:
    """Return the multiply-accumulates of a folded graph; or say why there is none."""
    if job.missing:
        return job.missing
    try:
        return total(folding_of(load(Folded, job.folder)).parts).macs_after
    except ArtifactError as error:
        return _unread(error)


def _unread(error: ProjectError) -> str:
    return f"not read: {error.message}: {error.got}"
