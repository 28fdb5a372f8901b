"""What the commands of a row left."""

from typing import NamedTuple

from bundle.base.errors import ArtifactError
from bundle.formats.artifacts import Folded, load
from compile.stage.artifacts import folding_of, total
from studies.bundle_files import Made, read_bundle, unread
from studies.command_journal import Job
from studies.zoo.jobs import TARGETS, Terms, bundle_job, growth_job
from studies.zoo.rows import Row
from tdss.card import Card, load_card
from tdss.config_file import WEIGHTS


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
        {target: read_bundle(bundle_job(row, target, terms)) for target in TARGETS},
        _read_macs(growth_job(row, terms, row.folder)),
    )


def _read_macs(job: Job) -> int | str:
    """Return the multiply-accumulates of a folded graph; or say why there is none."""
    if job.missing:
        return job.missing
    try:
        return total(folding_of(load(Folded, job.folder)).parts).macs_after
    except ArtifactError as error:
        return unread(error)
