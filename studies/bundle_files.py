"""What the commands of a study left: the files of a bundle, read and checked. No figure of a table comes from elsewhere."""

from pathlib import Path
from typing import NamedTuple

from bundle.base.errors import ArtifactError, ProjectError
from bundle.formats.fold import FoldPart, read_fold_settings
from bundle.formats.manifest import Manifest, load_bundle
from bundle.formats.tensorrt_checks import Gate, GraphProof, LintReports, Proof, read_lint, read_proof
from bundle.judging.checks import answers
from bundle.judging.choice import Bench, read_bench
from bundle.judging.regression_report import RegressionReport, read_report
from compile.stage.artifacts import total
from studies.command_journal import Job


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

    def ships(self, graph: str) -> bool:
        """Say whether a graph belongs to the shipped variant."""
        return graph in self.manifest.variant(self.manifest.shipped).files

    @property
    def failed_plans(self) -> tuple[Gate, ...]:
        """The plan checks that failed, also those of graphs that are not shipped."""
        return () if self.proof is None else self.proof.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """All checks that the shipped variant failed."""
        plans = (f"{gate.says}: {gate.got}" for gate in self.failed_plans if self.ships(gate.graph))
        return (*(check.text for check in answers(self.report, allow_inconclusive=False) if not check.passed), *plans)


def read_bundle(job: Job) -> Made | str:
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
        return unread(error)


def unread(error: ProjectError) -> str:
    """Say why a file was not read."""
    return f"not read: {error.message}: {error.got}"
